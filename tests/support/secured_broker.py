"""An Apache Kafka as it is deployed: deploy/kafka/{server.properties,start.sh}, TLS, SCRAM users, an authorizer.

Only ports, folders and the place of the secrets differ from what the compose file starts.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from mesh_messaging.kafka import KafkaSettings, wait_until_ready
from mesh_messaging.topics import Cluster
from mesh_runtime.errors import Unavailable
from support.real_parts import ROOT, cache, in_thread, server_folder
from support.waiting import eventually
from ucmesh_embedded import jars, kafka
from ucmesh_embedded.places import free_port, port_is_free
from ucmesh_embedded.processes import Child, Command, spawn

DEPLOY = ROOT / "deploy"
TOPICS = DEPLOY / "kafka" / "topics.yaml"
ADMIN = "admin"
PROGRAMS = {"kafka-storage.sh": "kafka.tools.StorageTool", "kafka-server-start.sh": "kafka.Kafka"}


@dataclass(slots=True)
class SecuredBroker:
    """One running broker. Everybody named in topics.yaml has a password file; only `admin` is a user from the start."""

    folder: Path
    port: int
    internal_port: int
    """Where the node talks to itself: who comes with its certificate may do everything."""
    child: Child

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "secrets" / "ca_pem"

    @property
    def passwords(self) -> Path:
        """A folder with one file per user, as make_secrets.py made it."""
        return self.folder / "secrets" / "kafka-users"

    def client(self, user: str, password: str | None = None) -> KafkaSettings:
        """How this user reaches the broker; with the password of its file unless another is given."""
        return KafkaSettings(
            self.bootstrap,
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=user,
            sasl_password=SecretStr(password or (self.passwords / user).read_text()),
            ca_file=self.ca_file,
            client_id=f"test-{user}",
            session_timeout_ms=6_000,
        )

    def environment(self, prefix: str, user: str) -> dict[str, str]:
        """The same as variables of a program, say `environment("TOPICS_", "admin")`."""
        return {
            f"{prefix}KAFKA_BOOTSTRAP": self.bootstrap,
            f"{prefix}KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            f"{prefix}KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            f"{prefix}KAFKA_SASL_USERNAME": user,
            f"{prefix}KAFKA_SASL_PASSWORD": (self.passwords / user).read_text(),
            f"{prefix}KAFKA_CA_FILE": str(self.ca_file),
        }


@contextlib.contextmanager
def secured_broker() -> Iterator[SecuredBroker]:
    """A broker of one's own for the block."""
    with server_folder() as folder:
        make = [sys.executable, DEPLOY / "make_secrets.py", folder / "secrets", "--host", "127.0.0.1"]
        subprocess.run(make, check=True, capture_output=True, timeout=120)
        port = free_port()
        internal = free_port(frozenset({port}))
        broker = SecuredBroker(folder, port, internal, spawn(_command(folder, port, internal)))
        try:
            in_thread(eventually(lambda: _lets_admin_in(broker), seconds=30, what="the broker", every_seconds=0.2))
            yield broker
        finally:
            broker.child.kill()


def topics_command(
    broker: SecuredBroker, *arguments: str | Path, user: str = ADMIN
) -> subprocess.CompletedProcess[str]:
    """`python -m mesh_messaging.topics` as this user."""
    argv = [sys.executable, "-m", "mesh_messaging.topics", *arguments]
    env = {**os.environ, **broker.environment("TOPICS_", user)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


def wait_for_users(broker: SecuredBroker) -> None:
    """The command has set the passwords; on a busy machine the broker knows them a moment later."""
    users = sorted(path.name for path in broker.passwords.iterdir())
    for user in users:
        in_thread(wait_until_ready(broker.client(user), [], 60))


async def _lets_admin_in(broker: SecuredBroker) -> bool:
    if broker.child.exit_code is not None:
        pytest.fail(f"the secured broker ended:\n{broker.child.tail(30)}")
    if port_is_free(broker.port):
        return False
    try:
        async with Cluster(broker.client(ADMIN)) as cluster:
            await cluster.read()
    except Unavailable:
        return False
    return True


def _command(folder: Path, port: int, internal: int) -> Command:
    programs = folder / "bin"
    programs.mkdir()
    jars.classpath(cache())
    for program, main_class in PROGRAMS.items():
        argv = kafka.java_argv(cache(), [*kafka.aot_flags(cache()), *kafka.QUIET], main_class)
        (programs / program).write_text(f'#!/bin/sh\nexec {" ".join(str(part) for part in argv)} "$@"\n')
        (programs / program).chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BIN": str(programs),
        "KAFKA_CONFIG": str(_write_properties(folder, port, internal)),
        "CLUSTER_ID_FILE": str(folder / "secrets" / "kafka_cluster_id"),
        "ADMIN_PASSWORD_FILE": str(folder / "secrets" / "kafka-users" / ADMIN),
    }
    return Command([DEPLOY / "kafka" / "start.sh"], log=folder / "kafka.log", env=environment, cwd=folder)


def _write_properties(folder: Path, port: int, internal: int) -> Path:
    controller = free_port(frozenset({port, internal}))
    secrets = folder / "secrets"
    here: Mapping[str, str] = {
        "controller.quorum.voters": f"1@localhost:{controller}",
        "listeners": f"CLIENTS://127.0.0.1:{port},CONTROLLER://localhost:{controller},INTERNAL://localhost:{internal}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port},INTERNAL://localhost:{internal}",
        "ssl.keystore.location": str(secrets / "kafka_server_pem"),
        "ssl.truststore.location": str(secrets / "ca_pem"),
        "log.dirs": str(folder / "data"),
    }
    text = (DEPLOY / "kafka" / "server.properties").read_text()
    for name, value in here.items():
        lines = [line for line in text.splitlines() if line.startswith(f"{name}=")]
        assert len(lines) == 1, f"{name} is not in server.properties exactly once"
        text = text.replace(lines[0], f"{name}={value}")
    file = folder / "server.properties"
    file.write_text(text)
    return file
