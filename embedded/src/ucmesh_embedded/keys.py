"""Every secret of the embedded stack, made once with the system's random source and kept in `keys/` (mode 700).

Owns: key-encryption keys, sealing keys, client secrets, database passwords, the issuer's signing key, the
certificate authority and the server certificate. Refuses: production. Files are written whole or not at all, so a
start that died half-way leaves nothing broken.
"""

import base64
import datetime
import ipaddress
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc.jwk import ECKey, RSAKey

CA_DAYS = 3650
SERVER_DAYS = 365
RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Keys:
    """Paths of the stack's secrets. Each `*_file` method makes its file if there is none."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server_cert_file(self) -> Path:
        return self.folder / "server.pem"

    @property
    def server_key_file(self) -> Path:
        return self.folder / "server.key"

    def password(self, name: str) -> str:
        """A random password under this name, the same at every call."""
        return self._once(f"{name}.secret", lambda: secrets.token_urlsafe(24).encode()).read_text()

    def password_file(self, name: str) -> Path:
        self.password(name)
        return self.folder / f"{name}.secret"

    def kek_file(self, service: str) -> Path:
        """The key-encryption keys one service seals its own rows with."""
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        return self._once(f"kek-{service}.json", lambda: orjson.dumps({"active": "k1", "keys": {"k1": key}}))

    def sealing_key_file(self, service: str) -> Path:
        """The private JWK (EC P-256) of a receiver of sealed messages."""
        return self._once(f"sealing-{service}.json", lambda: _sealing_key(service))

    def sealing_public_file(self, service: str) -> Path:
        """The public half, for those who seal for the receiver."""
        private = ECKey.import_key(orjson.loads(self.sealing_key_file(service).read_bytes()))
        public = orjson.dumps(private.as_dict(private=False))
        return self._once(f"sealing-{service}.pub.json", lambda: public)

    def receivers_file(self, services: Sequence[str]) -> Path:
        """One JSON object: service name to public JWK."""
        rows = {name: orjson.loads(self.sealing_public_file(name).read_bytes()) for name in services}
        return self.write("receivers.json", orjson.dumps(rows))

    def issuer_key_file(self) -> Path:
        """The private RSA JWK the development issuer signs with."""
        return self._once("issuer-key.json", _issuer_key)

    def issue_server_certificate(self) -> None:
        """A CA and a certificate for localhost and 127.0.0.1; both made anew when they are about to end."""
        if not (_lasts(self.ca_file) and (self.folder / "ca.key").exists()):
            _write_ca(self)
            self.server_cert_file.unlink(missing_ok=True)
        if not (_lasts(self.server_cert_file) and self.server_key_file.exists()):
            _write_server(self)

    def _once(self, name: str, make: Callable[[], bytes]) -> Path:
        file = self.folder / name
        return file if file.exists() else self.write(name, make())

    def write(self, name: str, content: bytes) -> Path:
        """Write one file of the folder whole, readable by its owner only."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.folder / f"{name}.{secrets.token_hex(4)}.part"
        part.touch(mode=0o600)
        part.write_bytes(content)
        return part.replace(self.folder / name)


def _sealing_key(service: str) -> bytes:
    key = ECKey.generate_key("P-256", {"use": "enc", "kid": f"{service}-{secrets.token_hex(4)}"}, private=True)
    return orjson.dumps(key.as_dict(private=True))


def _issuer_key() -> bytes:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": secrets.token_hex(4)}, private=True)
    return orjson.dumps(key.as_dict(private=True))


def _lasts(file: Path) -> bool:
    """Whether the certificate is there and good for a while yet."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left > datetime.timedelta(days=RENEW_DAYS)


def _write_ca(keys: Keys) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ucmesh embedded CA")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    keys.write("ca.key", _pem(key))
    keys.write("ca.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _write_server(keys: Keys) -> None:
    ca = x509.load_pem_x509_certificate(keys.ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key((keys.folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        _builder(name, ca.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    keys.write("server.key", _pem(key))
    keys.write("server.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
