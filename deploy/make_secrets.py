"""`python deploy/make_secrets.py FOLDER`: every password, key and certificate of the deployment, each made once.

What is there stays, so it may be run again after a new service or user came. Take the folder away from everybody else:
who has it, is the mesh. `--host` adds a name or address by which the brokers are reached from outside.
"""

import argparse
import datetime
import ipaddress
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_messaging.topics import load

TOPICS = Path(__file__).parent / "kafka" / "topics.yaml"
ADMIN = "admin"
CA_DAYS = 3650
SERVER_DAYS = 365


def make(folder: Path, hosts: Sequence[str] = ()) -> None:
    """Fill the folder with what is missing."""
    users = [principal.removeprefix("User:") for principal in load(TOPICS).principals]
    for user in (ADMIN, *users):
        once(folder / "kafka-users" / user, password)
    authority(folder)
    once(folder / "kafka_server_pem", lambda: server_pem(folder, ["kafka", "localhost", *hosts]))


def once(file: Path, content: Callable[[], bytes]) -> None:
    """Write the file whole and for its owner only, unless it is there."""
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_bytes(content())
    part.rename(file)


def password() -> bytes:
    return secrets.token_urlsafe(32).encode()


def authority(folder: Path) -> None:
    """The certificate authority of the deployment."""
    once(folder / "ca_key", lambda: pem(ec.generate_private_key(ec.SECP256R1())))
    key = private_key(folder)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ucmesh deployment CA")])
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    made = certificate(name, name, key.public_key(), CA_DAYS).add_extension(constraints, critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    usage = dict.fromkeys(("digital_signature", "key_cert_sign", "crl_sign"), True)
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    unused = dict.fromkeys((*others, "decipher_only"), False)
    made = made.add_extension(x509.KeyUsage(**usage, **unused), critical=True)
    once(folder / "ca_pem", lambda: made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def server_pem(folder: Path, hosts: Sequence[str]) -> bytes:
    """Private key and certificate of the Kafka node, `CN=kafka-node`."""
    ca = x509.load_pem_x509_certificate((folder / "ca_pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka-node")])
    made = certificate(name, ca.subject, key.public_key(), SERVER_DAYS)
    made = made.add_extension(x509.SubjectAlternativeName([host_name(host) for host in hosts]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(private_key(folder).public_key())
    signed = made.add_extension(issuer, critical=False).sign(private_key(folder), hashes.SHA256())
    return pem(key) + signed.public_bytes(serialization.Encoding.PEM)


def host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def private_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key((folder / "ca_key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", action="append", default=[], help="name or address of the brokers; may be repeated")
    arguments = parser.parse_args(argv)
    make(arguments.folder, arguments.host)
    sys.stdout.write(f"secrets are in {arguments.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
