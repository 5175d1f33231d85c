"""How tests get a real PostgreSQL and a real Apache Kafka.

In this order: the servers named by UCMESH_POSTGRES and UCMESH_KAFKA; containers where a Docker engine answers
(UCMESH_CONTAINERS=0 turns that off); the embedded ones. The container path runs only where an engine is.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import tempfile
import threading
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ucmesh_embedded.kafka import KafkaBroker, KafkaSettings
from ucmesh_embedded.places import Places, free_port
from ucmesh_embedded.postgres import PostgresServer, PostgresSettings

ROOT = Path(__file__).resolve().parents[2]
POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.4.0"
T = TypeVar("T")


@dataclass(slots=True)
class Postgres:
    """A server with a role that may create databases. `server` is None when it is not ours to restart."""

    admin_url: str
    kind: str
    server: PostgresServer | None = None
    _made: list[str] = field(default_factory=list)

    def create_database(self) -> str:
        """A fresh, empty database; its URL. Callable with or without a running event loop."""
        name = f"t_{uuid.uuid4().hex[:16]}"
        in_thread(_execute(self.admin_url, f'CREATE DATABASE "{name}"'))
        self._made.append(name)
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{name}"))

    def drop_databases(self) -> None:
        for name in self._made:
            in_thread(_execute(self.admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    async def restart(self) -> None:
        """Stop and start on the same port; skips the test when the server is not ours."""
        await self._own().restart()

    def kill(self) -> None:
        """kill -9; `start` brings it back."""
        self._own().kill()

    async def start(self) -> None:
        await self._own().start()

    def _own(self) -> PostgresServer:
        if self.server is None:
            pytest.skip(f"needs a PostgreSQL it may kill; this run uses {self.kind}")
        return self.server


@dataclass(slots=True)
class Kafka:
    """A broker. `broker` is None when it is not ours to restart."""

    bootstrap: str
    kind: str
    broker: KafkaBroker | None = None

    async def restart(self) -> None:
        """Stop and start on the same port; skips the test when the broker is not ours."""
        await self._own().restart()

    def kill(self) -> None:
        """kill -9; `start` brings it back."""
        self._own().kill()

    def fill_disk(self) -> None:
        """From now on nothing can be written: no file may grow. It ends with the process; `start` brings space back."""
        child = self._own().child
        assert child is not None
        _, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1, hard))

    @property
    def is_running(self) -> bool:
        child = self._own().child
        return child is not None and child.exit_code is None

    async def stop(self) -> None:
        await self._own().stop()

    async def start(self) -> None:
        await self._own().start()

    def _own(self) -> KafkaBroker:
        if self.broker is None:
            pytest.skip(f"needs a Kafka it may kill; this run uses {self.kind}")
        return self.broker


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread of its own, so that a running loop here does not matter."""
    box: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            box.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return box[0]


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    if url := os.environ.get("UCMESH_POSTGRES"):
        external = Postgres(url, "UCMESH_POSTGRES")
        yield external
        external.drop_databases()
    elif docker_answers():
        with _postgres_container() as container:
            yield container
    else:
        with server_folder() as folder:
            settings = PostgresSettings(folder / "postgres", cache(), folder / "postgres.log", durable=False)
            server = PostgresServer(settings)
            asyncio.run(server.start())
            yield Postgres(server.url(), "embedded", server)
            server.kill()


@contextlib.contextmanager
def kafka() -> Iterator[Kafka]:
    if bootstrap := os.environ.get("UCMESH_KAFKA"):
        yield Kafka(bootstrap, "UCMESH_KAFKA")
    elif docker_answers():
        with _kafka_container() as container:
            yield container
    else:
        with server_folder() as folder:
            broker = KafkaBroker(KafkaSettings(folder / "kafka", cache(), folder / "kafka.log"))
            asyncio.run(broker.start())
            yield Kafka(broker.bootstrap, "embedded", broker)
            broker.kill()


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that the unprivileged user of a root-run PostgreSQL can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="ucmesh-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def docker_answers() -> bool:
    if os.environ.get("UCMESH_CONTAINERS") == "0":
        return False
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
        client.ping()
    except DockerException:
        return False
    client.close()
    return True


@contextlib.contextmanager
def _postgres_container() -> Iterator[Postgres]:
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
        yield Postgres(container.get_connection_url(), "container")


@contextlib.contextmanager
def _kafka_container() -> Iterator[Kafka]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    port = free_port()
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in environment.items():
        container = container.with_env(name, value)
    with container:
        wait_for_logs(container, "Kafka Server started", timeout=60)
        yield Kafka(f"localhost:{port}", "container")


def cache() -> Path:
    return Places.of(ROOT / ".ucmesh").cache


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
