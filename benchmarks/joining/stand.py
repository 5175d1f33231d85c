"""The mesh a benchmark stands on: the whole embedded stack, made-up tenants in the simulator, their customers ready.

Owns starting, ending and what every such program does first. Refuses to know what is measured. A part that dies ends
the program, for nothing counts then.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx

from joining import office
from joining.mesh import Mesh
from joining.meters import Meters, SimulatorCounts
from joining.service_metrics import ServiceMetrics
from mesh_messaging.topics import load
from ucmesh_cli.api import Api
from ucmesh_cli.profile import load_profile
from ucmesh_embedded import topology
from ucmesh_embedded.endpoints import CLI_FILE, Endpoints
from ucmesh_embedded.parts import PostgresPart
from ucmesh_embedded.postgres import PostgresServer
from ucmesh_embedded.stack import Stack, silent
from ucmesh_embedded.supervisor import Event
from ucmesh_embedded.topology import Options

T = TypeVar("T")

TALKATIVE = ("orchestrator", "graph-adapter")
TRACE_RATIO = 0.01
"""Production's sampling."""


def options(seed: int, trace_ratio: float = TRACE_RATIO, **more: Any) -> Options:
    """As in production, but for tenants that are not kept on disk: writing them again and again is not measured."""
    return Options(trace_ratio=trace_ratio, pwsh=False, crashes_max=1, seed=seed, keep_tenants=False, **more)


@dataclass(slots=True)
class Stand:
    """A running stack and its doors. `over` ends what waits in threads."""

    stack: Stack
    endpoints: Endpoints
    api: Api
    mesh: Mesh
    over: threading.Event

    @property
    def postgres(self) -> PostgresServer:
        return postgres_of(self.stack)

    async def unless_a_part_dies(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; StackError with the end of the log when a part dies."""
        doing, failing = asyncio.create_task(work), asyncio.create_task(self.stack.wait())
        await asyncio.wait([doing, failing], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            self.over.set()
            await asyncio.gather(doing, return_exceptions=True)
            failing.result()
        failing.cancel()
        return await doing

    async def leave(self, stays: Sequence[str]) -> None:
        """End every other part: who comes next has the machine to itself."""
        for name in reversed(self.stack.options.everything):
            if name not in stays and name in self.stack.supervisor.parts:
                await self.stack.supervisor.unwatch(name).stop()

    async def simulator(self, method: str, path: str, **request: Any) -> Any:
        """One call of the simulator's admin API."""
        headers = {"authorization": f"Bearer {admin_token(self.endpoints)}"}
        async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
            answer = await http.request(method, self.endpoints.url("simulator-admin") + path, **request)
            answer.raise_for_status()
            return answer.json() if answer.content else None

    def meters(self, names: Sequence[str], tenant: office.Tenant) -> Meters:
        """`names`: the parts whose CPU counts. What services say of themselves is read from every process of two."""
        endpoints, made = self.endpoints, self.stack.options
        spoken_to = [name for service in TALKATIVE for name in made.processes(service)]
        return Meters(
            pids={name: self.stack.pid(name) for name in names},
            postgres_url=self.postgres.url(),
            simulator=SimulatorCounts(endpoints.url("simulator-admin"), admin_token(endpoints), tenant.tenant_id),
            kafka=endpoints.kafka,
            topics=[topic.name for topic in load(topology.TOPICS_FILE).topics],
            services=ServiceMetrics(
                urls={name: endpoints.url(name) for name in spoken_to},
                token_url=endpoints.token_url,
                client_id=endpoints.client_id,
                client_secret=Path(endpoints.client_secret_file).read_text().strip(),
            ),
        )

    async def settle(self, tenants: Sequence[office.Tenant], seats: int) -> None:
        """One customer for each tenant, and the manager of all its people."""
        await self.simulator("POST", "/_sim/tenants", json=office.simulated(seats, tenants))
        await asyncio.to_thread(self.mesh.register, tenants)
        for tenant in tenants:
            await asyncio.to_thread(self.mesh.send, [office.boss()], tenant)
        await asyncio.to_thread(self.mesh.until_idle)


def admin_token(endpoints: Endpoints) -> str:
    return Path(endpoints.simulator_admin_token_file).read_text().strip()


def postgres_of(stack: Stack) -> PostgresServer:
    part = stack.supervisor.parts["postgres"]
    assert isinstance(part, PostgresPart)
    return part.server


@asynccontextmanager
async def standing(home: Path, made: Options, on_event: Event = silent) -> AsyncIterator[Stand]:
    """Everything is ended again whatever happens."""
    stack, over = Stack(home, made, on_event), threading.Event()
    endpoints = await stack.start()
    try:
        profile = load_profile({"UCMESH_PROFILE": str(home / CLI_FILE)})
        yield Stand(stack, endpoints, Api(profile), Mesh(Api(profile), over), over)
    finally:
        over.set()
        await stack.stop()


async def count_statements(home: Path, made: Options, on_event: Event = silent) -> None:
    """Have PostgreSQL count statements from its next start on."""
    stack = Stack(home, made, on_event)
    await stack.start(["postgres"])
    try:
        connection = await asyncpg.connect(postgres_of(stack).url())
        await connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        await connection.close()
    finally:
        await stack.stop()
