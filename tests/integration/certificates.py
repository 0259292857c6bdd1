"""Certificates for tests: authorities, what they sign, expired ones, as PEM files."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, cert: Path, key: Path) -> None:
        """Write both as PEM."""
        cert.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both below a directory, and return where."""
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        self.write(cert, key)
        return cert, key


def authority(name: str) -> Pair:
    """Make what signs others."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_builder(name, name, key, timedelta(days=1), is_authority=True).sign(key, hashes.SHA256()), key)


def signed(by: Pair, name: str, valid_for: timedelta = timedelta(days=1)) -> Pair:
    """Make a certificate for this machine's loopback; one ``valid_for`` less than nothing has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = by.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    builder = _builder(name, str(issuer), key, valid_for, is_authority=False)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    return Pair(builder.add_extension(x509.SubjectAlternativeName(names), False).sign(by.key, hashes.SHA256()), key)


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, valid_for: timedelta, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(_name(issuer), _name(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + valid_for)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
