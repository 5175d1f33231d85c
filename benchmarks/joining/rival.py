"""The rival's side as seen from outside: worker processes that start together, what they did and what it cost.

Owns starting and ending them, and the proof that the tenant holds what they claim. Refuses the workflow itself
(rival_worker.py).
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import asyncpg

from joining.meters import Meters, Stretch
from joining.rival_worker import Task, workflow_id
from joining.worker import Worker

WARM_UP_EACH = 50
PROGRAM = "joining.rival_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalRun(Stretch):
    """The rival's. `steps`: the steps of one workflow, as DBOS has them in its tables."""

    processes: int
    same_requests: bool
    steps: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"DBOS {'same' if self.same_requests else 'one'} x{self.processes}"


async def run(task: Task, people: Sequence[dict[str, Any]], processes: int, meters: Meters) -> RivalRun:
    """Split `people` over the processes; the first few of each warm it up and are not counted."""
    shares = [list(people[n::processes]) for n in range(processes)]
    tasks = [
        replace(task, worker=n, warm_up=share[:WARM_UP_EACH], people=share[WARM_UP_EACH:])
        for n, share in enumerate(shares)
    ]
    workers: list[Worker] = []
    try:
        for each in tasks:  # one after the other: the first makes the tables
            workers.append(await Worker.start(PROGRAM, asdict(each)))
            await workers[-1].says("ready")
        pids = {name: meters.pids[name] for name in ("postgres", "simulator")}
        own = replace(
            meters,
            pids=pids | {f"dbos {n + 1}": w.process.pid for n, w in enumerate(workers)},
            kafka=None,
            services=None,
        )
        before = await own.begin()
        for worker in workers:
            await worker.tell("go")
        times = await asyncio.gather(*(_times(worker) for worker in workers))
        after = await own.read()
        for worker in workers:
            await worker.tell("leave")
            await worker.left()
    finally:
        for worker in workers:
            await worker.end()
    counted = sum(len(each.people) for each in tasks)
    seconds = max(each["ended"] for each in times) - min(each["began"] for each in times)
    steps = await _steps(task.database_url, tasks[0].people[0])
    return RivalRun(
        joiners=counted,
        seconds=seconds,
        cost=after.since(before),
        processes=processes,
        same_requests=task.same_requests,
        steps=steps,
    )


async def _steps(database_url: str, person: Mapping[str, Any]) -> tuple[str, ...]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT function_name FROM dbos.operation_outputs WHERE workflow_uuid = $1 ORDER BY function_id",
            workflow_id(person),
        )
    finally:
        await connection.close()
    return tuple(row["function_name"] for row in rows)


async def _times(worker: Worker) -> dict[str, float]:
    found: dict[str, float] = json.loads(await worker.line())
    return found
