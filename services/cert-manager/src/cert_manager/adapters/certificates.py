"""Makes self-signed certificates for app registrations (Microsoft: RSA of at least 2048 bits, SHA-256).

Profile: client authentication, not a CA, not before five minutes ago for skewed clocks (reference: Entra "Create a
self-signed public certificate").
"""

import asyncio
import base64
import secrets
from datetime import datetime, timedelta

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cert_manager.domain.ports import Issued

SKEW_MINUTES = 5
COMMON_NAME_MAX = 64


class SelfSignedIssuer:
    """Implements the Issuer port."""

    async def issue(self, *, common_name: str, key_bits: int, validity_days: int, now: datetime) -> Issued:
        """Off the event loop: a key pair takes tens of milliseconds to seconds."""
        return await asyncio.to_thread(_issue, common_name[:COMMON_NAME_MAX], key_bits, validity_days, now)


def _issue(common_name: str, key_bits: int, validity_days: int, now: datetime) -> Issued:
    key = rsa.generate_private_key(public_exponent=65537, key_size=key_bits)
    certificate = _certificate(
        common_name, key, now - timedelta(minutes=SKEW_MINUTES), now + timedelta(days=validity_days)
    )
    password = secrets.token_urlsafe(32)
    encryption = serialization.BestAvailableEncryption(password.encode())
    pfx = pkcs12.serialize_key_and_certificates(b"ucmesh", key, certificate, None, encryption)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    bundle = {
        "pfx": base64.b64encode(pfx).decode(),
        "password": password,
        "certificate_pem": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "private_key_pem": private.decode(),
    }
    return Issued(
        certificate_der=certificate.public_bytes(serialization.Encoding.DER),
        # Microsoft names certificates by their SHA-1 thumbprint; it secures nothing.
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        bundle=orjson.dumps(bundle),
    )


def _certificate(
    common_name: str, key: rsa.RSAPrivateKey, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
