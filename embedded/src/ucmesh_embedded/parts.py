"""The three kinds of parts a stack has: PostgreSQL with its databases, Kafka with its topics, a Python program.

Owns: what "serves" means for each. Refuses: restarts and order.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from mesh_messaging.kafka import KafkaSettings as ClientSettings
from mesh_messaging.topics import Cluster, apply, load
from mesh_runtime.errors import InvalidInput, Unavailable
from ucmesh_embedded import kafka, postgres, topology
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.kafka import Door, KafkaBroker, KafkaSettings
from ucmesh_embedded.postgres import PostgresServer, PostgresSettings
from ucmesh_embedded.processes import STOP_SECONDS_MAX, Child, Command, spawn
from ucmesh_embedded.topology import Program, Wiring

READY_SECONDS_MAX = 60.0
READY_POLL_SECONDS = 0.1
ANSWER_SECONDS_MAX = 5.0


class PostgresPart:
    """PostgreSQL, and in it one database and one role for each service."""

    name = "postgres"
    needs: Sequence[str] = ()

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.log = wiring.places.logs / "postgres.log"
        home = wiring.places
        settings = PostgresSettings(
            home.home / "postgres", home.cache, self.log, wiring.ports["postgres"], wiring.options.durable
        )
        self.server = PostgresServer(settings)

    @property
    def child(self) -> Child | None:
        return self.server.child

    async def start(self) -> None:
        await self.server.start()
        try:
            for service in topology.SERVICES:
                role = topology.database(service)
                await self.server.ensure_database(role, self._wiring.keys.password(f"database-{role}"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise postgres.diagnose("PostgreSQL did not make the services' databases", str(error)) from error

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        await self.server.stop(seconds_max)


class KafkaPart:
    """Apache Kafka, and in it every topic of the topics file; one node keeps one copy and checks no rights."""

    name = "kafka"
    needs: Sequence[str] = ()

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.log = wiring.places.logs / "kafka.log"
        home = wiring.places
        doors = wiring.options.doors
        door = Door(wiring.ports[topology.KAFKA_DOOR], doors["kafka"]) if "kafka" in doors else None
        settings = KafkaSettings(home.home / "kafka", home.cache, self.log, wiring.ports["kafka"], door=door)
        self.broker = KafkaBroker(settings)

    @property
    def child(self) -> Child | None:
        return self.broker.child

    async def start(self) -> None:
        try:
            declaration = load(topology.TOPICS_FILE).with_replication(1)
        except InvalidInput as error:
            raise StackError(error.message, remedy="The stack is started from a checkout that is whole.") from error
        await self.broker.start()
        try:
            async with Cluster(ClientSettings(self.broker.bootstrap, client_id="embedded")) as cluster:
                comparison = await apply(cluster, declaration)
        except Unavailable as error:
            child = self.broker.child
            raise kafka.diagnose(f"{child.tail() if child else ''}\n{error}") from error
        if comparison.refusals:
            raise StackError(
                f"Apache Kafka's data does not fit the topics file: {'; '.join(comparison.refusals)}",
                remedy="To start with empty data: ./dev down --purge",
            )

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        await self.broker.stop(seconds_max)


class ProgramPart:
    """One of our own programs: it serves when its health answers."""

    def __init__(self, program: Program, wiring: Wiring) -> None:
        self.name = program.name
        self.needs: Sequence[str] = program.needs
        self.log: Path = wiring.places.logs / f"{program.name}.log"
        self._child: Child | None = None
        self._program = program
        self._wiring = wiring
        self.faults = wiring.options.faults.get(program.name, "")
        """UCMESH_FAULTS of the next start only, so that the start after a crash is an ordinary one."""

    @property
    def child(self) -> Child | None:
        return self._child

    async def start(self) -> None:
        program, options = self._program, self._wiring.options
        environment = topology.base_environment(self._wiring.places) | dict(program.environment)
        environment |= options.environment.get(program.name, {})
        if self.faults:
            environment["UCMESH_FAULTS"] = self.faults
            self.faults = ""
        self._child = spawn(Command(topology.argv(program), self.log, environment, cwd=self._wiring.places.home))
        await self._ready(self._child)

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        if self._child is not None:
            await self._child.stop(seconds_max)

    async def _ready(self, child: Child) -> None:
        port = self._wiring.ports[self._program.health_listener or self.name]
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if child.exit_code is not None:
                raise StackError(
                    f"{self.name} ended with exit code {child.exit_code} before it served. Its last lines were:\n"
                    f"{child.tail()}",
                    remedy=f"The whole log is {self.log}.",
                )
            if await http_status(port, self._program.health, self._program.health_token) == 200:
                return
            await asyncio.sleep(READY_POLL_SECONDS)
        child.kill()
        raise StackError(
            f"{self.name} did not serve within {READY_SECONDS_MAX:.0f} s. Its last lines were:\n{child.tail()}",
            remedy=f"The whole log is {self.log}.",
        )


async def http_status(port: int, path: str, token: str = "") -> int | None:
    """The status of one GET on 127.0.0.1; None when nobody answers."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Connection: close\r\n\r\n"
    writer = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request.encode())
            await writer.drain()
            status = (await reader.readline()).split()
            return int(status[1]) if len(status) > 1 else None
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
