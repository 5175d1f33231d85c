"""What plans in flight cost the orchestrator: its memory, and a transition, with 1,000, 10,000 and 100,000 of them.

    python benchmarks/in_flight.py [--sizes 1000 10000 100000] [--measured 1000] [--rounds 3] [--seed 1] [--json FILE]

The real orchestrator, all roles, with Apache Kafka and a PostgreSQL that commits to disk; graph-adapter is stood in for
(planning/adapter.py). Plans in flight have been planned and wait for the answer to their first write. At each size
`--measured` joiners go from HR's event to their proof, `--rounds` times; one transition is one reply taken and
everything that follows from it. The same process has all sizes one after the other, so memory that grew stays visible.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from joining import office
from joining.meters import tree_cpu
from joining.stand import Stand, count_statements, options, standing
from planning.adapter import HELD, StandIn
from reporting import program
from reporting.figures import Report, Row, at_most

from mesh_messaging.kafka import KafkaSettings

STAYS = ("postgres", "kafka", "issuer", "traces", "orchestrator")
MEMORY_GOAL = 1.3
COST_GOAL = 1.2
"""What "does not grow" allows for noise."""
FILL_SIZE = 5_000
WAIT_SECONDS_MAX = 1_800.0
FAR_DEADLINES = """
UPDATE plan SET due_at = now() + interval '1 day'
WHERE due_at < now() + interval '1 hour' AND employee_id LIKE 'HELD%'
"""
STATEMENT_TIME = """
SELECT sum(s.total_exec_time)::float8 / 1000 FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = 'orchestrator'
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Measured with so many plans in flight; the costs are of one transition."""

    in_flight: int
    memory_mib: float
    cpu_us: float
    statements_us: float


async def measure(home: Path, given: Any) -> list[Row]:
    made = options(given.seed, trace_ratio=0.0)
    await count_statements(home, made)
    async with standing(home, made) as stand:
        everybody = max(given.sizes) + given.measured * (given.rounds * len(given.sizes) + 1)
        await stand.settle([office.MESH_TENANT], everybody + 10)
        await stand.leave(STAYS)
        adapter = StandIn(KafkaSettings(stand.endpoints.kafka, client_id="stand-in"))
        answering = asyncio.create_task(adapter.run())
        try:
            await adapter.ready.wait()
            load = program.OtherLoad()
            sizes = await stand.unless_a_part_dies(_grow(stand, adapter, given))
            return [*_rows(sizes), Row("plans in flight, other load", load.share(), "share of the machine")]
        finally:
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering


async def _grow(stand: Stand, adapter: StandIn, given: Any) -> list[Size]:
    await _through(stand, adapter, office.people(given.seed, "WARM", given.measured))
    sizes: list[Size] = []
    for in_flight in sorted(given.sizes):
        while adapter.held < in_flight:
            wanted = min(adapter.held + FILL_SIZE, in_flight)
            people = office.people(given.seed, f"{HELD}{wanted}", wanted - adapter.held)
            await asyncio.to_thread(stand.mesh.send, people)
            await _reached(lambda: adapter.held, wanted)
            await _far_deadlines(stand)
        rounds = [
            await _round(stand, adapter, office.people(given.seed, f"ROUND{in_flight}-{n}", given.measured))
            for n in range(given.rounds)
        ]
        memory = psutil.Process(stand.stack.pid("orchestrator")).memory_info().rss / 2**20
        cpu, statements = (statistics.median(each) * 1e6 for each in zip(*rounds, strict=True))
        sizes.append(Size(in_flight, memory, cpu, statements))
    return sizes


async def _round(stand: Stand, adapter: StandIn, people: Sequence[Any]) -> tuple[float, float]:
    """Seconds of the orchestrator's CPU and of statements, for one transition."""
    process = psutil.Process(stand.stack.pid("orchestrator"))
    answered, cpu, statements = adapter.answered, tree_cpu(process), await _statement_seconds(stand)
    await _through(stand, adapter, people)
    transitions = adapter.answered - answered
    return (tree_cpu(process) - cpu) / transitions, (await _statement_seconds(stand) - statements) / transitions


async def _through(stand: Stand, adapter: StandIn, people: Sequence[Any]) -> None:
    """All of these people's plans have succeeded."""
    succeeded = adapter.succeeded + len(people)
    await asyncio.to_thread(stand.mesh.send, people)
    await _reached(lambda: adapter.succeeded, succeeded)


async def _reached(count: Callable[[], int], wanted: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while count() < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {count()} of {wanted} after {WAIT_SECONDS_MAX:.0f} s")
        await asyncio.sleep(0.02)


async def _far_deadlines(stand: Stand) -> None:
    """The wait for an answer lasts two minutes; filling may take longer, and what a timer does is not measured here."""
    connection = await asyncpg.connect(stand.stack.wiring.database_url("orchestrator"))
    await connection.execute(FAR_DEADLINES)
    await connection.close()


async def _statement_seconds(stand: Stand) -> float:
    connection = await asyncpg.connect(stand.postgres.url())
    try:
        return float(await connection.fetchval(STATEMENT_TIME))
    finally:
        await connection.close()


def _rows(sizes: Sequence[Size]) -> list[Row]:
    """Each size as it is, then as a ratio to the smallest; the goals speak of the largest."""
    rows: list[Row] = []
    for size in sizes:
        name = f"{size.in_flight:,} plans in flight"
        rows += [
            Row(f"{name}, memory", size.memory_mib, "MiB"),
            Row(f"{name}, CPU", size.cpu_us, "us/transition"),
            Row(f"{name}, statements", size.statements_us, "us/transition"),
        ]
    first = sizes[0]
    for size in sizes[1:]:
        name, unit = f"{size.in_flight:,} plans in flight / {first.in_flight:,}", "x"
        rows += [
            at_most(f"{name}, memory", size.memory_mib / first.memory_mib, unit, MEMORY_GOAL),
            at_most(f"{name}, CPU", size.cpu_us / first.cpu_us, unit, COST_GOAL),
            at_most(f"{name}, statements", size.statements_us / first.statements_us, unit, COST_GOAL),
        ]
    return rows


def main(argv: Sequence[str]) -> None:
    sizes = {"measured": (1_000, 20), "rounds": (3, 1)}
    texts = {"measured": "joiners of a round", "rounds": "at each size; the median counts"}
    parser = program.parser(__doc__, sizes, texts)
    parser.add_argument("--sizes", type=int, nargs="+", help="plans in flight (1000 10000 100000; 20 40 with --quick)")
    given = program.sized(parser.parse_args(argv), sizes)
    given.sizes = given.sizes or ([20, 40] if given.quick else [1_000, 10_000, 100_000])
    with program.folder() as home:
        rows = program.run(measure(home, given))
    settings = {"seed": given.seed, "measured": given.measured, "rounds": given.rounds}
    Report("in_flight", "Plans in flight in the orchestrator", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
