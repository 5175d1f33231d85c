"""How many joiners a second go through the whole mesh, beside the same steps written as a DBOS workflow, in one run.

    python benchmarks/joiner.py [--joiners 3000] [--rival-joiners 300] [--seed 1] [--profile FOLDER] [--json FILE]

Both sides run on the machine's own PostgreSQL server with synchronous commit, each in databases of its own, against one
simulated Microsoft 365 that answers at once and without limits, one tenant each. The mesh runs first, all four services
with Apache Kafka; then the services end and a bare pipeline runs (floor.py); then everything but PostgreSQL and the
simulator is ended: the rival has the machine to itself.
benchmarks/README.md says what is counted and what each side leaves out.
"""

import asyncio
import itertools
import json
import os
import sys
import tempfile
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
from bare import run as floor
from joining import office, rival
from joining.arguments import Settings, read_arguments
from joining.mesh import Mesh, MeshRun
from joining.mesh import run as run_mesh
from joining.meters import Meters, SimulatorCounts, Stretch
from joining.profile import Profile, Samplers
from joining.report import Results
from joining.rival_worker import Task
from joining.service_metrics import ServiceMetrics
from joining.sql_profile import SqlProfile, SqlSampler
from rich.console import Console

from ucmesh_cli.api import Api
from ucmesh_cli.profile import PROFILE_VARIABLE, load_profile
from ucmesh_embedded import topology
from ucmesh_embedded.endpoints import CLI_FILE, Endpoints
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.parts import PostgresPart
from ucmesh_embedded.places import Places
from ucmesh_embedded.postgres import PostgresServer
from ucmesh_embedded.stack import Stack
from ucmesh_embedded.topology import Options

T = TypeVar("T")

WIDTH = 130
FLOOR_STAYS = ("postgres", "kafka", "simulator")
RIVAL_STAYS = ("postgres", "simulator")
RIVAL_DATABASE = "dbos_rival"


class Bench:
    """One run over one stack in a folder of its own."""

    def __init__(self, settings: Settings, home: Path, console: Console) -> None:
        self._settings, self._home, self._console = settings, home, console
        self._samplers = Samplers(settings.profile or home / "profile")
        self._stack = Stack(home, self._options(), self._event)
        self._over = threading.Event()

    async def run(self) -> Results:
        """Everything is ended again whatever happens."""
        if self._settings.profile:
            await self._count_statements()
        with self._console.status("starting the mesh"):
            endpoints = await self._stack.start()
        try:
            with self._console.status("joiners go through the mesh"):
                mesh, profiles, sql = await self._unless_a_part_dies(self._mesh(endpoints))
            await self._leave(FLOOR_STAYS)
            with self._console.status("joiners go through the bare pipeline"):
                bare = await self._unless_a_part_dies(self._floor(endpoints))
            await self._leave(RIVAL_STAYS)
            with self._console.status("joiners go through DBOS"):
                rivals = await self._unless_a_part_dies(self._rivals(endpoints))
            return Results(self._shown(), mesh, bare, rivals, profiles, sql)
        finally:
            self._over.set()
            await self._stack.stop()

    async def _unless_a_part_dies(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; StackError with the end of the log when a part dies, for nothing counts then."""
        doing, failing = asyncio.create_task(work), asyncio.create_task(self._stack.wait())
        await asyncio.wait([doing, failing], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            self._over.set()
            await asyncio.gather(doing, return_exceptions=True)
            failing.result()
        failing.cancel()
        return await doing

    async def _mesh(self, endpoints: Endpoints) -> tuple[MeshRun, list[Profile], SqlProfile | None]:
        settings = self._settings
        await _make_tenants(endpoints, settings.seats)
        os.environ[PROFILE_VARIABLE] = str(self._home / CLI_FILE)
        mesh = Mesh(Api(load_profile()), self._over)
        await asyncio.to_thread(mesh.register, office.customer_document(office.MESH_TENANT))
        await asyncio.to_thread(mesh.join, [office.boss()])
        await asyncio.to_thread(mesh.join, office.people(settings.seed, "WARM", settings.warm_up))
        meters = self._meters(endpoints, topology.EVERYTHING, office.MESH_TENANT)
        people = office.people(settings.seed, "MESH", settings.joiners)
        if not settings.profile:
            return await run_mesh(mesh, people, meters), [], None
        sql = SqlSampler(self._postgres.url(), [topology.database(name) for name in topology.SERVICES])
        await sql.begin()
        self._samplers.begin(self._stack)
        done = await run_mesh(mesh, people, meters)
        return done, await self._samplers.collect(self._stack), await sql.collect()

    async def _leave(self, stays: Sequence[str]) -> None:
        """End every other part: who comes next has the machine to itself."""
        for name in reversed(topology.EVERYTHING):
            if name not in stays and name in self._stack.supervisor.parts:
                await self._stack.supervisor.unwatch(name).stop()

    async def _floor(self, endpoints: Endpoints) -> Stretch | None:
        settings = self._settings
        await self._forget([topology.database(name) for name in topology.SERVICES])
        if not settings.floor_joiners:
            return None
        meters = Meters(
            pids={name: self._stack.pid(name) for name in ("postgres", "kafka")},
            postgres_url=self._postgres.url(),
            kafka=endpoints.kafka,
            topics=[floor.COMMANDS, floor.REPLIES],
        )
        warm_up = office.people(settings.seed, "BAREWARM", settings.warm_up)
        people = office.people(settings.seed, "BARE", settings.floor_joiners)
        done = await floor.run(self._postgres.ensure_database, endpoints.kafka, warm_up, people, meters)
        await self._forget(floor.DATABASES)
        return done

    async def _rivals(self, endpoints: Endpoints) -> list[rival.RivalRun]:
        settings, tenant, base = self._settings, office.RIVAL_TENANT, endpoints.url("simulator")
        task = Task(
            login_url=base,
            graph_url=f"{base}/v1.0",
            ca_file=endpoints.ca_file,
            tenant_id=tenant.tenant_id,
            client_id=tenant.client_id,
            secret=office.SECRET,
            domain=tenant.domain,
            manager_id=tenant.manager_id,
            group_ids=tenant.group_ids(),
            sku_id=office.SKU_ID,
            database_url=await self._postgres.ensure_database(RIVAL_DATABASE, RIVAL_DATABASE),
            worker=0,
            at_once=settings.rival_at_once,
            same_requests=True,
            warm_up=[],
            people=[],
        )
        meters = self._meters(endpoints, RIVAL_STAYS, tenant)
        runs = []
        for same, processes in itertools.product(settings.rival_requests, settings.rival_processes):
            count = settings.rival_joiners + rival.WARM_UP_EACH * processes
            people = office.people(settings.seed, f"DBOS{'SAME' if same else 'ONE'}{processes}", count)
            runs.append(await rival.run(replace(task, same_requests=same), people, processes, meters))
        return runs

    def _meters(self, endpoints: Endpoints, names: Sequence[str], tenant: office.Tenant) -> Meters:
        return Meters(
            pids={name: self._stack.pid(name) for name in names},
            postgres_url=self._postgres.url(),
            simulator=SimulatorCounts(endpoints.url("simulator-admin"), _admin_token(endpoints), tenant.tenant_id),
            kafka=endpoints.kafka,
            topics=list(topology.all_topics()),
            services=ServiceMetrics(
                urls={name: endpoints.url(name) for name in ("orchestrator", "graph-adapter")},
                token_url=endpoints.token_url,
                client_id=endpoints.client_id,
                client_secret=Path(endpoints.client_secret_file).read_text().strip(),
            ),
        )

    @property
    def _postgres(self) -> PostgresServer:
        part = self._stack.supervisor.parts["postgres"]
        assert isinstance(part, PostgresPart)
        return part.server

    async def _forget(self, databases: Sequence[str]) -> None:
        """What one side left in PostgreSQL must not be vacuumed and written to disk at the next one's cost."""
        connection = await asyncpg.connect(self._postgres.url())
        for database in databases:
            await connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
        await connection.execute("CHECKPOINT")
        await connection.close()

    async def _count_statements(self) -> None:
        """Have PostgreSQL count statements; the server must start with it."""
        stack = Stack(self._home, self._options(), self._event)
        await stack.start(["postgres"])
        try:
            part = stack.supervisor.parts["postgres"]
            assert isinstance(part, PostgresPart)
            connection = await asyncpg.connect(part.server.url())
            await connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
            await connection.execute("CREATE EXTENSION pg_stat_statements")
            await connection.close()
        finally:
            await stack.stop()

    def _options(self) -> Options:
        settings = self._settings
        return Options(
            trace_ratio=settings.trace_ratio,
            pwsh=False,
            crashes_max=1,
            seed=settings.seed,
            keep_tenants=False,  # writing them to disk again and again is not what is measured
            environment=self._samplers.environment() if settings.profile else {},
        )

    def _event(self, name: str, text: str) -> None:
        if text != "starting" and not text.startswith("ready after"):
            self._console.print(f"{name}: {text}", style="dim")

    def _shown(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "seed": settings.seed,
            "joiners": settings.joiners,
            "bare joiners": settings.floor_joiners,
            "DBOS joiners": settings.rival_joiners,
            "DBOS at once": settings.rival_at_once,
            "tracing": settings.trace_ratio,
            "PostgreSQL": "18, durable",
        }


async def _make_tenants(endpoints: Endpoints, seats: int) -> None:
    """Over the simulator's admin API."""
    headers = {"authorization": f"Bearer {_admin_token(endpoints)}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        url = f"{endpoints.url('simulator-admin')}/_sim/tenants"
        (await http.post(url, json=office.simulated(seats))).raise_for_status()


def _admin_token(endpoints: Endpoints) -> str:
    return Path(endpoints.simulator_admin_token_file).read_text().strip()


def main(argv: Sequence[str]) -> None:
    settings, given = read_arguments(argv, __doc__ or "")
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    os.environ.setdefault("UCMESH_CACHE", str(Places.from_environment().cache))
    with tempfile.TemporaryDirectory(prefix="ucmesh-bench-") as name:
        home = Path(name)
        home.chmod(0o755)  # PostgreSQL may run as another user
        try:
            results = asyncio.run(Bench(settings, home, console).run())
        except StackError as error:
            sys.exit(f"{error.message}\n{error.remedy or ''}")
    results.show(console)
    if given.json:
        given.json.write_text(json.dumps(results.as_json(), indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
