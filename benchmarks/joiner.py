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
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
from bare import run as floor
from joining import office, rival
from joining.arguments import Settings, read_arguments
from joining.mesh import MeshRun
from joining.mesh import run as run_mesh
from joining.meters import Meters, Stretch
from joining.profile import Profile, Samplers
from joining.report import Results
from joining.rival_worker import Task
from joining.sql_profile import SqlProfile, SqlSampler
from joining.stand import Stand, count_statements, options, standing
from reporting import program
from reporting.figures import console
from rich.console import Console

from ucmesh_embedded import topology
from ucmesh_embedded.topology import Options

FLOOR_STAYS = ("postgres", "kafka", "simulator")
RIVAL_STAYS = ("postgres", "simulator")
RIVAL_DATABASE = "dbos_rival"


class Bench:
    """One run over one stack in a folder of its own."""

    def __init__(self, settings: Settings, home: Path, console: Console) -> None:
        self._settings, self._home, self._console = settings, home, console
        self._samplers = Samplers(settings.profile or home / "profile")

    async def run(self) -> Results:
        """Everything is ended again whatever happens."""
        if self._settings.profile:
            await count_statements(self._home, self._options(), self._event)
        async with standing(self._home, self._options(), self._event) as stand:
            with self._console.status("joiners go through the mesh"):
                mesh, profiles, sql = await stand.unless_a_part_dies(self._mesh(stand))
            await stand.leave(FLOOR_STAYS)
            with self._console.status("joiners go through the bare pipeline"):
                bare = await stand.unless_a_part_dies(self._floor(stand))
            await stand.leave(RIVAL_STAYS)
            with self._console.status("joiners go through DBOS"):
                rivals = await stand.unless_a_part_dies(self._rivals(stand))
            return Results(self._shown(), mesh, bare, rivals, profiles, sql)

    async def _mesh(self, stand: Stand) -> tuple[MeshRun, list[Profile], SqlProfile | None]:
        settings = self._settings
        await stand.settle([office.MESH_TENANT], settings.seats)
        await asyncio.to_thread(stand.mesh.join, office.people(settings.seed, "WARM", settings.warm_up))
        meters = stand.meters(topology.EVERYTHING, office.MESH_TENANT)
        people = office.people(settings.seed, "MESH", settings.joiners)
        if not settings.profile:
            return await run_mesh(stand.mesh, people, meters), [], None
        sql = SqlSampler(stand.postgres.url(), [topology.database(name) for name in topology.SERVICES])
        await sql.begin()
        self._samplers.begin(stand.stack)
        done = await run_mesh(stand.mesh, people, meters)
        return done, await self._samplers.collect(stand.stack), await sql.collect()

    async def _floor(self, stand: Stand) -> Stretch | None:
        settings = self._settings
        await _forget(stand, [topology.database(name) for name in topology.SERVICES])
        if not settings.floor_joiners:
            return None
        meters = Meters(
            pids={name: stand.stack.pid(name) for name in ("postgres", "kafka")},
            postgres_url=stand.postgres.url(),
            kafka=stand.endpoints.kafka,
            topics=[floor.COMMANDS, floor.REPLIES],
        )
        warm_up = office.people(settings.seed, "BAREWARM", settings.warm_up)
        people = office.people(settings.seed, "BARE", settings.floor_joiners)
        done = await floor.run(stand.postgres.ensure_database, stand.endpoints.kafka, warm_up, people, meters)
        await _forget(stand, floor.DATABASES)
        return done

    async def _rivals(self, stand: Stand) -> list[rival.RivalRun]:
        settings, tenant = self._settings, office.RIVAL_TENANT
        base, graph = stand.endpoints.url("simulator"), f"{stand.endpoints.url('simulator')}/v1.0"
        await stand.simulator("POST", "/_sim/tenants", json=office.simulated(settings.seats, [tenant]))
        task = Task(
            login_url=base,
            graph_url=graph,
            ca_file=stand.endpoints.ca_file,
            tenant_id=tenant.tenant_id,
            client_id=tenant.client_id,
            secret=office.SECRET,
            domain=tenant.domain,
            manager_id=tenant.manager_id,
            group_ids=tenant.group_ids(),
            sku_id=office.SKU_ID,
            database_url=await stand.postgres.ensure_database(RIVAL_DATABASE, RIVAL_DATABASE),
            worker=0,
            at_once=settings.rival_at_once,
            same_requests=True,
            warm_up=[],
            people=[],
        )
        meters = stand.meters(RIVAL_STAYS, tenant)
        runs = []
        for same, processes in itertools.product(settings.rival_requests, settings.rival_processes):
            count = settings.rival_joiners + rival.WARM_UP_EACH * processes
            people = office.people(settings.seed, f"DBOS{'SAME' if same else 'ONE'}{processes}", count)
            runs.append(await rival.run(replace(task, same_requests=same), people, processes, meters))
        return runs

    def _options(self) -> Options:
        settings = self._settings
        environment = self._samplers.environment() if settings.profile else {}
        return options(settings.seed, settings.trace_ratio, environment=environment)

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


async def _forget(stand: Stand, databases: Sequence[str]) -> None:
    """What one side left in PostgreSQL must not be vacuumed and written to disk at the next one's cost."""
    connection = await asyncpg.connect(stand.postgres.url())
    for database in databases:
        await connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
    await connection.execute("CHECKPOINT")
    await connection.close()


def main(argv: Sequence[str]) -> None:
    settings, given = read_arguments(argv, __doc__ or "")
    shown = console()
    with program.folder() as home:
        results = program.run(Bench(settings, home, shown).run())
    results.show(shown)
    if given.json:
        given.json.write_text(json.dumps(results.as_json(), indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
