"""Certificates for tests as PEM files: authorities, what they sign, and expired ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

LOOPBACK = ("localhost", "127.0.0.1")


class Authority:
    """What signs others."""

    def __init__(self, name: str) -> None:
        self._ca = trustme.CA(organization_name=name)

    def file(self, directory: Path, name: str) -> Path:
        """Write its certificate below a directory, and return where."""
        self._ca.cert_pem.write_to_path(directory / f"{name}.pem")
        return directory / f"{name}.pem"

    def sign(self, name: str, valid_for: timedelta = timedelta(days=1)) -> "Pair":
        """Make a certificate for this machine's loopback; one ``valid_for`` less than nothing has expired."""
        now = datetime.now(UTC)
        ends = now + valid_for
        return Pair(
            self._ca.issue_cert(*LOOPBACK, common_name=name, not_before=now - timedelta(days=10), not_after=ends)
        )


class Pair:
    """A certificate and its private key."""

    def __init__(self, issued: trustme.LeafCert) -> None:
        self._issued = issued

    def write(self, cert: Path, key: Path) -> None:
        """Write both as PEM."""
        (own,) = self._issued.cert_chain_pems
        own.write_to_path(cert)
        self._issued.private_key_pem.write_to_path(key)

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both below a directory, and return where."""
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        self.write(cert, key)
        return cert, key
