"""The mesh as one picture: which programs run, what each needs, where each listens, what each is told.

    HR file, CLI ──> orchestrator ──ucmesh.graph.commands.v1──> graph-adapter ──HTTPS──┐
                       │  ▲   │                                                        ├──> simulator
                       │  │   └────ucmesh.pwsh.commands.v1───> pwsh-gateway ───pwsh────┘   (Microsoft 365)
                       │  └──ucmesh.orchestrator.replies.v1──────┘
                       └──ucmesh.certs.commands.v1──> cert-manager ──ucmesh.certificates.v1──> all others

    Commands and replies of the bulk lane: ucmesh.{graph,pwsh}-bulk.commands.v1, ucmesh.orchestrator-bulk.replies.v1.

    postgres: one database and one role a service      kafka: the topics of deploy/kafka/topics.yaml
    issuer: bearer tokens for all of them               traces: takes every span, answers `ucmesh trace show`

Owns: names, environments, start order. Refuses: starting anything (stack.py does).
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ucmesh_embedded.keys import Keys
from ucmesh_embedded.places import Places
from ucmesh_embedded.replicas import processes

CHECKOUT = Path(__file__).resolve().parents[3]
EXAMPLE_TENANTS = CHECKOUT / "examples" / "tenants.yaml"
TOPICS_FILE = CHECKOUT / "deploy" / "kafka" / "topics.yaml"
"""The topics a deployment has, too."""

# client of the development issuer: scopes
CLIENTS: Mapping[str, str] = {
    "cli": "mesh.read mesh.write mesh.admin hr.write",
}

SERVERS = ("postgres", "kafka", "issuer", "traces", "simulator")
SERVICES = ("cert-manager", "graph-adapter", "pwsh-gateway", "orchestrator")
EVERYTHING = (*SERVERS, *SERVICES)
SEALED_FOR = ("graph-adapter", "pwsh-gateway")
LISTENERS = (*EVERYTHING, "simulator-admin")
KAFKA_DOOR = "kafka-door"  # where the broker listens for those who come through a proxy, and names it to them


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ between a demo, a test and a benchmark."""

    durable: bool = True
    """False: PostgreSQL without fsync, for tests."""
    trace_ratio: float = 1.0
    pwsh: bool | None = None
    """None: real PowerShell when `pwsh` is on PATH."""
    seed: int = 1
    seed_file: Path | None = None
    """Tenants the simulator starts with the first time; None: none, they are made through its admin API."""
    keep_tenants: bool = True
    """The simulator keeps its tenants on disk, so that a restart finds them as they were."""
    simulator_arguments: Sequence[str] = ()
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More variables for a program, by its name; those of a service reach all of its replicas, which may have their own
    besides, by theirs: `graph-adapter-2`."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """UCMESH_FAULTS for the first start of a program; a start after a crash goes without."""
    crashes_max: int = 5
    """A part that ends this often within a minute ends the stack."""
    replicas: int = 1
    """Processes of each service; all of one share its database and its consumer group."""
    roles: Mapping[str, int] = field(default_factory=dict)
    """Given: every role of every service in processes of its own, so many of each or one; `replicas` says nothing."""
    doors: Mapping[str, int] = field(default_factory=dict)
    """Port where services find a server, by its name, when it is not the server's own: a proxy's in front of it."""

    @property
    def services(self) -> list[str]:
        """Every replica of every service."""
        return [name for service in SERVICES for name in self.processes(service)]

    def processes(self, service: str) -> dict[str, Sequence[str]]:
        """Every process of a service with the roles it is started with; none means all."""
        return processes(service, self.replicas, self.roles)

    @property
    def everything(self) -> list[str]:
        """Every part of a stack with these options."""
        return [*SERVERS, *self.services]

    @property
    def listeners(self) -> list[str]:
        """Whatever needs a port."""
        more = [KAFKA_DOOR] if "kafka" in self.doors else []
        return [*LISTENERS, *(name for name in self.services if name not in SERVICES), *more]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Every address and secret of one stack."""

    places: Places
    ports: Mapping[str, int]
    options: Options

    @property
    def keys(self) -> Keys:
        return Keys(self.places.keys)

    @property
    def pwsh(self) -> str | None:
        """The real PowerShell the gateway uses; None: the simulated host."""
        found = shutil.which("pwsh") if modules_folder().is_dir() else None
        return found if self.options.pwsh in (None, True) else None

    def url(self, name: str) -> str:
        scheme = "https" if name == "simulator" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[name]}"

    def database_url(self, service: str) -> str:
        role = database(service)
        return f"postgresql://{role}:{self.keys.password(f'database-{role}')}@127.0.0.1:{self.door('postgres')}/{role}"

    def door(self, name: str) -> int:
        """The port that services are told for a server."""
        return self.options.doors.get(name, self.ports[name])

    def tenants_url(self) -> str:
        """Where services find Microsoft 365."""
        return f"https://127.0.0.1:{self.door('simulator')}"


@dataclass(frozen=True, slots=True)
class Program:
    """One Python program of the mesh. Ready when `health` answers 200 on its port."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    needs: Sequence[str] = ()
    health: str = "/health/ready"
    health_listener: str = ""
    """The listener asked for `health`, when it is not the one of the program's own name."""
    health_token: str = ""


def programs(wiring: Wiring) -> list[Program]:
    """Everything but PostgreSQL and Kafka, in reading order; `needs` gives the start order."""
    replicas = [
        _service(wiring, service, name, roles)
        for service in SERVICES
        for name, roles in wiring.options.processes(service).items()
    ]
    return [_issuer(wiring), _traces(wiring), _simulator(wiring), *replicas]


def database(service: str) -> str:
    """The name of a service's database and role: that of its module."""
    return service.replace("-", "_")


def modules_folder() -> Path:
    """The stub MicrosoftTeams and ExchangeOnlineManagement modules of the checkout."""
    return CHECKOUT / "simulator" / "modules"


def _issuer(wiring: Wiring) -> Program:
    keys = wiring.keys
    arguments = ["ucmesh_embedded.issuer", "--port", str(wiring.ports["issuer"])]
    arguments += ["--key-file", str(keys.issuer_key_file())]
    arguments += ["--clients-file", str(wiring.places.home / "issuer.json")]
    return Program("issuer", arguments, {})


def _traces(wiring: Wiring) -> Program:
    keys = wiring.keys
    arguments = ["ucmesh_embedded.traces", "--port", str(wiring.ports["traces"])]
    arguments += ["--file", str(wiring.places.home / "traces" / "spans.sqlite"), "--issuer", wiring.url("issuer")]
    arguments += ["--issuer-key-file", str(keys.issuer_key_file())]
    arguments += ["--ingest-token-file", str(keys.password_file("traces-ingest"))]
    return Program("traces", arguments, {})


def _simulator(wiring: Wiring) -> Program:
    keys = wiring.keys
    token = keys.password("simulator-admin")
    arguments = ["ucmesh_simulator", "serve", "--port", str(wiring.ports["simulator"])]
    arguments += ["--admin-port", str(wiring.ports["simulator-admin"]), "--seed", str(wiring.options.seed)]
    arguments += ["--certfile", str(keys.server_cert_file), "--keyfile", str(keys.server_key_file)]
    if wiring.options.seed_file:
        arguments += ["--seed-file", str(wiring.options.seed_file)]
    if wiring.options.keep_tenants:
        arguments += ["--state-file", str(wiring.places.home / "simulator" / "tenants")]
    arguments += wiring.options.simulator_arguments
    return Program(
        "simulator",
        arguments,
        {"UCMESH_SIMULATOR_ADMIN_TOKEN": token},
        health="/_sim/config",
        health_listener="simulator-admin",
        health_token=token,
    )


def _service(wiring: Wiring, service: str, name: str, roles: Sequence[str]) -> Program:
    prefix = service.replace("-", "_").upper() + "_"
    told = _common(wiring, service) | {"HTTP_PORT": str(wiring.ports[name])} | _OWN[service](wiring)
    environment = {prefix + variable: value for variable, value in told.items()}
    for told_for in (service, name):
        environment |= wiring.options.environment.get(told_for, {})
    if "OTLP_ENDPOINT" in told:
        token = wiring.keys.password("traces-ingest")
        environment["OTEL_EXPORTER_OTLP_HEADERS"] = f"Authorization=Bearer%20{token}"
    return Program(name, [database(service), *roles], environment, needs=["postgres", "kafka", "issuer"])


def _common(wiring: Wiring, name: str) -> dict[str, str]:
    keys = wiring.keys
    told = {
        "DATABASE_URL": wiring.database_url(name),
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{wiring.door('kafka')}",
        "OIDC_ISSUER": wiring.url("issuer"),
        "CA_FILE": str(keys.ca_file),
        "KEK_FILE": str(keys.kek_file(name)),
        "HTTP_LINGER_SECONDS": "0",  # nobody balances load here
    }
    if wiring.options.trace_ratio > 0:
        told |= {"OTLP_ENDPOINT": wiring.url("traces"), "TRACE_RATIO": str(wiring.options.trace_ratio)}
    return told


def _cert_manager(wiring: Wiring) -> dict[str, str]:
    return {
        "SEALING_KEY_FILE": str(wiring.keys.sealing_key_file("cert-manager")),
        "RECEIVERS_FILE": str(wiring.keys.receivers_file(SEALED_FOR)),
    }


def _graph_adapter(wiring: Wiring) -> dict[str, str]:
    return {
        "SEALING_KEY_FILE": str(wiring.keys.sealing_key_file("graph-adapter")),
        "LOGIN_URL": wiring.tenants_url(),
        "GRAPH_URL": wiring.tenants_url() + "/v1.0",
    }


def _pwsh_gateway(wiring: Wiring) -> dict[str, str]:
    told = {
        "SEALING_KEY_FILE": str(wiring.keys.sealing_key_file("pwsh-gateway")),
        "BACKEND": "pwsh" if wiring.pwsh else "simulated",
        "SIMULATOR_URL": wiring.tenants_url(),
        "SIMULATOR_CA": str(wiring.keys.ca_file),
    }
    return told | ({"MODULE_PATH": str(modules_folder())} if wiring.pwsh else {})


def _orchestrator(wiring: Wiring) -> dict[str, str]:
    return {"CERT_MANAGER_JWK_FILE": str(wiring.keys.sealing_public_file("cert-manager"))}


_OWN: Mapping[str, Callable[[Wiring], dict[str, str]]] = {
    "cert-manager": _cert_manager,
    "graph-adapter": _graph_adapter,
    "pwsh-gateway": _pwsh_gateway,
    "orchestrator": _orchestrator,
}


def base_environment(places: Places) -> dict[str, str]:
    """What every program inherits from us: little, so that a setting of the person's shell cannot change the mesh.

    Certificate variables (SSL_CERT_FILE and its like) are left out on purpose: they would override the embedded CA.
    Compiled Python goes to the cache, which makes the second start of seven programs seconds faster.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ") if name in os.environ}
    return kept | {
        "PYTHONPYCACHEPREFIX": str(places.cache / "pycache"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def argv(program: Program) -> list[str]:
    return [sys.executable, "-m", *program.arguments]
