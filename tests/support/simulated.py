"""A simulated Microsoft 365 inside the test process: real TLS on a free port, tenants on demand, state to assert on.

Use `started(folder)` for a simulator and `install(simulator, tenant_spec(...))` for a tenant in it."""

import asyncio
import contextlib
import datetime
import ssl
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from ucmesh_simulator.server import Listeners, Running, running
from ucmesh_simulator.world import World

ADMIN_TOKEN = "test-admin"
GRAPH_SCOPE = "https://graph.microsoft.com/.default"
ROLES = [
    "User.ReadWrite.All",
    "Group.ReadWrite.All",
    "GroupMember.ReadWrite.All",
    "Organization.Read.All",
    "Directory.Read.All",
    "Application.ReadWrite.OwnedBy",
    "LicenseAssignment.ReadWrite.All",
]


def make_certificate(
    name: str, *, days: int = 365, starts_days_ago: int = 1, host: str | None = None
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=starts_days_ago)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return key, builder.sign(key, hashes.SHA256())


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def pfx_of(key: rsa.RSAPrivateKey, certificate: x509.Certificate, password: str) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"ucmesh", key, certificate, None, serialization.BestAvailableEncryption(password.encode())
    )


class Background:
    """The simulator in a thread with its own loop, so that blocking clients can be used."""

    def __init__(self, world: World, listeners: Listeners) -> None:
        self.world = world
        self._listeners = listeners
        self._up: Running | None = None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with running(self.world, self._listeners, ADMIN_TOKEN) as up:
            self._up = up
            self._ready.set()
            await self._stop.wait()

    def start(self) -> Running:
        self._thread.start()
        assert self._ready.wait(20), "the simulator did not start"
        assert self._up is not None
        return self._up

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)


@dataclass
class Simulator:
    base_url: str
    admin_url: str
    ca_file: Path
    world: World

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def admin(self) -> httpx.Client:
        return httpx.Client(base_url=self.admin_url, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=20)


@dataclass
class Tenant:
    """A fresh tenant with one application holding a secret and, when asked, a certificate."""

    simulator: Simulator
    tenant_id: str
    domain: str
    client_id: str
    object_id: str
    secret: str
    clients: list[httpx.Client] = field(default_factory=list)

    def token(self, scope: str = GRAPH_SCOPE) -> str:
        answer = httpx.post(
            f"{self.simulator.base_url}/{self.tenant_id}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": self.client_id,
                "client_secret": self.secret,
                "scope": scope,
            },
            verify=self.simulator.context(),
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def graph(self) -> httpx.Client:
        client = httpx.Client(
            base_url=f"{self.simulator.base_url}/v1.0",
            headers={"authorization": f"Bearer {self.token()}"},
            verify=self.simulator.context(),
            timeout=20,
        )
        self.clients.append(client)
        return client

    def state(self, section: str) -> Any:
        with self.simulator.admin() as admin:
            answer = admin.get(f"/_sim/tenants/{self.tenant_id}/state", params={"section": section})
        assert answer.status_code == 200, answer.text
        return answer.json()[section]

    def turn(self, **knobs: object) -> None:
        with self.simulator.admin() as admin:
            answer = admin.patch("/_sim/config", params={"tenant": self.tenant_id}, json=knobs)
        assert answer.status_code == 200, answer.text

    def fault(self, **description: object) -> str:
        with self.simulator.admin() as admin:
            answer = admin.post(f"/_sim/tenants/{self.tenant_id}/faults", json=description)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def advance(self, seconds: float) -> None:
        with self.simulator.admin() as admin:
            assert admin.post("/_sim/clock", json={"advance_seconds": seconds}).status_code == 200

    def user_body(self, local: str, **properties: object) -> dict[str, object]:
        return {
            "accountEnabled": True,
            "displayName": local.title(),
            "mailNickname": local,
            "userPrincipalName": f"{local}@{self.domain}",
            "passwordProfile": {"password": "xWwvJ]6NMw+bWH-d", "forceChangePasswordNextSignIn": True},
            "usageLocation": "CH",
            **properties,
        }


def tenant_spec(**changes: object) -> dict[str, Any]:
    tenant_id = str(uuid.uuid4())
    return {
        "tenant_id": tenant_id,
        "display_name": "Northwind",
        "initial_domain": f"nw{tenant_id[:8]}.onmicrosoft.com",
        "domains": [f"nw{tenant_id[:8]}.example"],
        "skus": [
            {"part_number": "SPE_E5", "seats": 3},
            {"part_number": "SPE_E3", "seats": 50},
            {"part_number": "EXCHANGESTANDARD", "seats": 5},
            {"part_number": "MCOEV", "seats": 5},
        ],
        "groups": [
            {"display_name": "All staff"},
            {"display_name": "Dynamic", "kind": "dynamic"},
            {"display_name": "Synced", "synced": True},
        ],
        "policies": {"TenantDialPlan": ["Zurich"], "OnlineVoiceRoutingPolicy": ["CH"]},
        "numbers": [
            {"first": "+41445551000", "last": "+41445551004", "type": "DirectRouting"},
            {"number": "+41445551900", "type": "DirectRouting", "assigned_to": "outside"},
            {"first": "+41445552000", "last": "+41445552001", "type": "CallingPlan"},
        ],
        "applications": [
            {
                "client_id": str(uuid.uuid4()),
                "object_id": str(uuid.uuid4()),
                "secrets": [{"value": "bootstrap-secret-value"}],
                "roles": ROLES,
            }
        ],
        **changes,
    }


def install(simulator: Simulator, spec: dict[str, Any]) -> Tenant:
    with simulator.admin() as admin:
        answer = admin.post("/_sim/tenants", json=spec)
    assert answer.status_code == 201, answer.text
    application = spec["applications"][0]
    return Tenant(
        simulator=simulator,
        tenant_id=spec["tenant_id"],
        domain=spec["domains"][0],
        client_id=application["client_id"],
        object_id=application["object_id"],
        secret="bootstrap-secret-value",
    )


@contextlib.contextmanager
def started(home: Path, *, seed: str = "tests", **knobs: object) -> Iterator[Simulator]:
    """A running simulator without delays unless `knobs` say otherwise; its CA is `home/ca.pem`."""
    key, certificate = make_certificate("localhost", host="localhost")
    (home / "ca.pem").write_text(pem_of(certificate))
    (home / "server.pem").write_text(pem_of(certificate) + private_pem(key))
    world = World(seed=seed)
    world.turn({"zero_latency": True, **knobs})
    background = Background(world, Listeners(certfile=home / "server.pem"))
    up = background.start()
    try:
        yield Simulator(up.base_url, up.admin_url, home / "ca.pem", world)
    finally:
        background.stop()
