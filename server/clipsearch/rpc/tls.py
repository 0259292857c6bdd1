"""TLS: certificates from files, checked before they are used, and replaced while calls run.

gRPC asks for a certificate at each handshake, so a new one serves the next connection and those that are open keep the
old: nothing is dropped. That also means that a client certificate's authority, once taken away, ends nobody's
connection.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from clipsearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate chain, its private key, and who signs clients (None: clients need none)."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Pem:
    """What such files hold."""

    chain: bytes
    key: bytes
    client_ca: bytes | None

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return it as gRPC takes it."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.client_ca)


def read_pem(files: TlsFiles) -> Pem:
    """Read certificates; raises ConfigError where they are not usable."""
    chain, key = _read(files.cert), _read(files.key)
    client_ca = None if files.client_ca is None else _read(files.client_ca)
    _check(files)
    if chain != _read(files.cert) or key != _read(files.key):
        raise ConfigError(f"{files.cert} and {files.key} were being replaced; read them again when that is done")
    return Pem(chain, key, client_ca)


class Certificates:
    """The certificates that are served now. Not for several threads, but gRPC's own may ask at any time."""

    def __init__(self, pem: Pem) -> None:
        self.pem = pem
        self._served = pem
        self._told: list[Callable[[Pem], None]] = []

    def tell(self, replaced: Callable[[Pem], None]) -> None:
        """Have a function called with each replacement."""
        self._told.append(replaced)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what to open a port with. Without the certificate it needs, a client's handshake fails."""
        return grpc.dynamic_ssl_server_credentials(
            self.pem.configuration(),
            self._fetch,  # type: ignore[arg-type]  # may return None, which the stubs do not know
            require_client_authentication=self.pem.client_ca is not None,
        )

    def replace(self, pem: Pem) -> None:
        """Serve other certificates to connections to come."""
        self.pem = pem
        for told in self._told:
            told(pem)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC at each handshake, on a thread of its own; None: as before."""
        pem = self.pem
        if pem is self._served:
            return None
        self._served = pem
        return pem.configuration()


def _check(files: TlsFiles) -> None:
    """gRPC takes anything and then fails every handshake, so OpenSSL looks first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would make OpenSSL ask at the terminal; the empty password makes it fail instead.
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"{files.cert} and {files.key} are not a certificate and its own, unencrypted private key in PEM: {error}"
        ) from error
    if files.client_ca is None:
        return
    try:
        context.load_verify_locations(files.client_ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{files.client_ca} holds no certificates in PEM: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
