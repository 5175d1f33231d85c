"""`python deploy/make_secrets.py FOLDER`: every password, key and certificate of the deployment, each made once.

What is there stays, so it may be run again after a new service or user came. The folder itself is closed to others
(mode 700): who has it, is the mesh. What lies in it can be read by any user inside the one container it is mounted in.
`--host` adds a name or address by which the brokers are reached from outside.

    ca_pem, ca_key       the deployment's own certificate authority
    kafka_server_pem     key and certificate of the Kafka node; kafka-users/ one password a user
    postgres/            one password a role; kafka_cluster_id
    services/NAME/       what one service is told; simulator/ what the simulator is told
"""

import argparse
import base64
import datetime
import ipaddress
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_messaging.topics import load
from mesh_runtime.sealing import SealingKey

TOPICS = Path(__file__).parent / "kafka" / "topics.yaml"
ADMIN = "admin"
SERVICES = ("orchestrator", "graph-adapter", "pwsh-gateway", "cert-manager")
SEALED_FOR = ("graph-adapter", "pwsh-gateway")
SEALED = (*SEALED_FOR, "cert-manager")
CA_DAYS = 3650
SERVER_DAYS = 365


def make(folder: Path, hosts: Sequence[str] = ()) -> None:
    """Fill the folder with what is missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority(folder)
    users = [principal.removeprefix("User:") for principal in load(TOPICS).principals]
    for user in (ADMIN, *users):
        once(folder / "kafka-users" / user, password)
    brokers = ["kafka", "localhost", *hosts]
    once(folder / "kafka_server_pem", lambda: server_pem(folder, "kafka-node", brokers))
    once(folder / "kafka_cluster_id", cluster_id)
    administrator = folder / "services" / "topics"
    once(administrator / "topics_kafka_sasl_password", (folder / "kafka-users" / ADMIN).read_bytes)
    once(administrator / "ca.pem", (folder / "ca_pem").read_bytes)
    once(folder / "postgres" / "superuser", password)
    once(folder / "grafana_admin_password", password)
    once(folder / "metrics_client_secret", lambda: b"replace-by-the-secret-your-issuer-gave")
    for service in SERVICES:
        tell(folder, service)
    receivers = {name: public_key(folder, name) for name in SEALED_FOR}
    once(folder / "services" / "cert-manager" / "receivers.json", lambda: json.dumps(receivers).encode())
    bootstrap = public_key(folder, "cert-manager")
    once(folder / "services" / "orchestrator" / "cert-manager.jwk.json", lambda: json.dumps(bootstrap).encode())
    once(folder / "simulator" / "server.pem", lambda: server_pem(folder, "simulator", ["simulator", "localhost"]))


def tell(folder: Path, service: str) -> None:
    """What one service gets: its own secrets and the certificate authority, nothing of the others."""
    role = service.replace("-", "_")
    own = folder / "services" / service
    once(folder / "postgres" / role, password)
    word = (folder / "postgres" / role).read_text()
    once(own / f"{role}_database_url", f"postgresql://{role}:{word}@postgres:5432/{role}".encode)
    once(own / f"{role}_kafka_sasl_password", (folder / "kafka-users" / service).read_bytes)
    once(own / "ca.pem", (folder / "ca_pem").read_bytes)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    once(own / "kek.json", lambda: json.dumps({"active": "k1", "keys": {"k1": key}}).encode())
    if service in SEALED:
        once(own / "sealing.json", lambda: json.dumps(SealingKey.generate(service).private_jwk).encode())


def public_key(folder: Path, service: str) -> object:
    """The half of a service's sealing key that others seal for."""
    return SealingKey.from_jwk(json.loads((folder / "services" / service / "sealing.json").read_text())).public_jwk


def once(file: Path, content: Callable[[], bytes], mode: int = 0o444) -> None:
    """Write the file whole, unless it is there."""
    if file.exists():
        return
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_bytes(content())
    part.chmod(mode)
    part.rename(file)


def password() -> bytes:
    return secrets.token_urlsafe(32).encode()


def cluster_id() -> bytes:
    """16 bytes in base64url, as Kafka names a cluster; it allows no dash at the beginning."""
    return base64.urlsafe_b64encode(b"m" + secrets.token_bytes(15)).rstrip(b"=")


def authority(folder: Path) -> None:
    """The certificate authority of the deployment."""
    once(folder / "ca_key", lambda: pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
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


def server_pem(folder: Path, common_name: str, hosts: Sequence[str]) -> bytes:
    """A server's private key and its certificate, signed by the deployment's authority."""
    ca = x509.load_pem_x509_certificate((folder / "ca_pem").read_bytes())
    authority_key = private_key(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    signed = (
        certificate(name, ca.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([host_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
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
