"""How fast plans move: the pure decision alone, and with its rows, with 1,000 and 10,000 plans in flight.

    python benchmarks/plan_core.py [--measured 1000] [--batch 500] [--few 1000] [--many 10000]

A plan has an observe operation and 8 more (the shape of a joiner). One transition = one reply taken, what follows
decided, written and put into the outbox. PostgreSQL commits synchronously to disk; planner, settlement and adapters
cost nothing here. The measured plans are the same number in both databases, the others only lie there, in flight; both
are measured in turns, so that a busy machine slows both.

    core       transitions per second of the decision alone, in memory
    batch      transitions per second in transactions of `--batch` replies, and CPU of this process for each
    single     milliseconds (median) of a transaction that takes one reply
    memory     the process's largest resident memory after its plans were put in flight
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import uvloop
from planning.stand_ins import OBSERVE, TENANT, Rules, answer, plan_of
from reporting import program
from reporting.figures import Report, Row
from sqlalchemy import text

from mesh_messaging.testing import drain_outbox
from mesh_runtime import logs, migrations
from mesh_runtime.clock import SystemClock, Uuid7Ids
from mesh_runtime.db import Database
from orchestrator.adapters.db.plan_rows import DatabasePlanRows
from orchestrator.adapters.plan_messages import OutboxPlanMessages
from orchestrator.application.carried_plan import observe_row, planned_rows
from orchestrator.application.plan_engine import PlanEngine
from orchestrator.application.start_plans import start_plans
from orchestrator.application.take_replies import take_replies
from orchestrator.domain.plan import PlanState
from orchestrator.domain.plan_core import advance
from orchestrator.domain.plan_status import Event, OperationStatus, Planned, PlanStatus, Reply, Started
from orchestrator.domain.ports import PlanningRequest, StartPlan
from ucmesh_embedded.places import Places
from ucmesh_embedded.postgres import PostgresServer, PostgresSettings

START_SIZE = 500
SINGLE_COUNT = 200


def core_rate(plans: int) -> float:
    """Every plan from its first reply to its end, one reply a step, JSON columns in their stored form."""
    clock, ids = SystemClock(), Uuid7Ids()
    transitions, spent = 0, 0.0
    for _ in range(plans):
        now = clock.now()
        plan = PlanStatus(ids.new(), ids.new(), "c", TENANT, "e", "joiner", "bulk", PlanState.OBSERVING, now)
        rows: dict[UUID, OperationStatus] = {}
        planned = plan_of(PlanningRequest(plan.plan_id, plan.person_id, {}))
        waiting: list[Event] = [Started(observe_row(plan, OBSERVE, ids))]
        while waiting:
            began = time.perf_counter()
            made = advance(plan, list(rows.values()), [waiting.pop(0)], now)
            spent += time.perf_counter() - began
            transitions += 1
            plan = made.plan
            rows.update({row.id: row for row in made.operations})
            waiting += [answer(command.operation_id, plan.plan_id, command.name) for command in made.commands]
            if made.observed is not None:
                waiting.append(Planned(planned_rows(plan, planned, ids)))
        assert plan.state is PlanState.SUCCEEDED
    return transitions / spent


@dataclass(slots=True)
class Bench:
    db: Database
    engine: PlanEngine
    pending: dict[UUID, list[Reply]]

    async def start(self, count: int) -> list[UUID]:
        ids = self.engine.ids
        started: list[UUID] = []
        for _ in range(0, count, START_SIZE):
            requests = [
                StartPlan(ids.new(), ids.new(), "northwind", TENANT, "NW-1", OBSERVE)
                for _ in range(min(START_SIZE, count - len(started)))
            ]
            async with self.db.transaction() as tx:
                await start_plans(self.engine, tx, requests)
            started += [request.plan_id for request in requests]
            await self.collect()
        return started

    async def collect(self) -> None:
        """Answer what is in the outbox (not measured)."""
        async with self.db.transaction() as tx:
            for message in await drain_outbox(tx):
                if message.event.type.endswith(".execute"):
                    data = json.loads(message.event.data)
                    reply = answer(UUID(data["operation_id"]), UUID(data["plan_id"]), data["operation"])
                    self.pending.setdefault(reply.plan_id or UUID(int=0), []).append(reply)

    async def take(self, replies: Sequence[Reply]) -> float:
        began = time.perf_counter()
        async with self.db.transaction() as tx:
            await take_replies(self.engine, tx, replies)
        return time.perf_counter() - began

    async def run(self, plan_ids: Sequence[UUID], batch: int) -> AsyncIterator[tuple[int, float, float]]:
        """These plans to their ends; yields replies taken, seconds and seconds of our own CPU after every batch."""
        while ready := [reply for plan_id in plan_ids for reply in self.pending.pop(plan_id, [])]:
            random.shuffle(ready)
            for place in range(0, len(ready), batch):
                part = ready[place : place + batch]
                before = time.process_time()
                seconds = await self.take(part)
                cpu = time.process_time() - before
                await self.collect()
                yield len(part), seconds, cpu


@dataclass(slots=True)
class Side:
    """One database with so many plans in flight, and what was measured on it."""

    in_flight: int
    bench: Bench
    kept: list[Reply]
    plans: list[UUID]
    memory_mib: float
    batches: list[tuple[int, float, float]]
    singles: list[float]

    def rate(self) -> float:
        return sum(count for count, _, _ in self.batches) / sum(seconds for _, seconds, _ in self.batches)

    def cpu_us(self) -> float:
        return sum(cpu for *_, cpu in self.batches) / sum(count for count, *_ in self.batches) * 1e6

    def single_ms(self) -> float:
        return statistics.median(self.singles) * 1000


async def prepare(url: str, in_flight: int, measured: int, batch: int) -> Side:
    await migrations.upgrade(url, "orchestrator")
    db = Database(url, pool_size_max=2, application_name="bench")
    rules, clock, ids = Rules(), SystemClock(), Uuid7Ids()
    messages = OutboxPlanMessages(ids=ids, clock=clock)
    bench = Bench(db, PlanEngine(DatabasePlanRows(), messages, rules, rules, rules, rules, clock, ids), {})
    kept = await _in_flight(bench, in_flight, batch)
    plans = await bench.start(measured)
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Side(in_flight, bench, kept, plans, memory_mib, [], [])


async def measure(few: Side, many: Side, batch: int) -> None:
    """In turns, batch by batch, so that whatever else this machine does falls on both."""
    runs = [(side, side.bench.run(side.plans, batch)) for side in (few, many)]
    while runs:
        for side, run in list(runs):
            done = await anext(run, None)
            if done is None:
                runs.remove((side, run))
            else:
                side.batches.append(done)
    for small, large in zip(few.kept, many.kept, strict=False):
        few.singles.append(await few.bench.take([small]))
        many.singles.append(await many.bench.take([large]))
    for side in (few, many):
        async with side.bench.db.read() as tx:
            ended = (await tx.execute(text("SELECT count(*) FROM plan WHERE state = 'succeeded'"))).scalar_one()
        assert ended == len(side.plans), f"{ended} of {len(side.plans)} ended"
        await side.bench.db.close()


async def _in_flight(bench: Bench, count: int, batch: int) -> list[Reply]:
    """Plans that have a user and wait for three replies; returns one of the replies of some of them.

    Made in portions and forgotten here, so that the memory of this process is the engine's and not the benchmark's.
    """
    kept: list[Reply] = []
    for place in range(0, count, START_SIZE):
        plan_ids = await bench.start(min(START_SIZE, count - place))
        for _ in range(2):
            ready = [reply for plan_id in plan_ids for reply in bench.pending.pop(plan_id, [])]
            for part in range(0, len(ready), batch):
                await bench.take(ready[part : part + batch])
                await bench.collect()
        left = random.sample(plan_ids, min(max(SINGLE_COUNT * len(plan_ids) // count, 1), len(plan_ids)))
        kept += [bench.pending[plan_id][0] for plan_id in left]
        bench.pending.clear()
    return kept


async def measure_both(wanted: argparse.Namespace) -> tuple[Side, Side]:
    """Few and many on one server, each in a database of its own."""
    cache = Places.from_environment().cache
    server = PostgresServer(PostgresSettings(wanted.folder / "postgres", cache, wanted.folder / "postgres.log"))
    await server.start()
    try:
        few, many = [
            await prepare(await server.ensure_database(f"bench_{name}", "bench"), count, wanted.measured, wanted.batch)
            for name, count in (("few", wanted.few), ("many", wanted.many))
        ]
        await measure(few, many, wanted.batch)
        return few, many
    finally:
        server.kill()


def rows(core: float, few: Side, many: Side) -> list[Row]:
    found = [Row("plan core in memory", core, "transitions/s")]
    for word, each in (("few", few), ("many", many)):
        name = f"plan core, {word} ({each.in_flight:,}) in flight"
        found += [
            Row(name, each.rate(), "transitions/s"),
            Row(f"{name}, CPU", each.cpu_us(), "us/transition"),
            Row(f"{name}, one reply alone", each.single_ms(), "ms"),
            Row(f"{name}, largest memory", each.memory_mib, "MiB"),
        ]
    return [
        *found,
        Row("plan core, many / few in flight", many.rate() / few.rate(), "x transitions/s"),
        Row("plan core, many / few in flight, one reply alone", many.single_ms() / few.single_ms(), "x ms"),
    ]


def main(argv: Sequence[str]) -> None:
    sizes = {"measured": (1_000, 20), "batch": (500, 50), "few": (1_000, 20), "many": (10_000, 1_000)}
    texts = {
        "measured": "plans that go to their ends",
        "batch": "replies in a transaction",
        "few": "plans in flight in one database",
        "many": "plans in flight in the other",
    }
    given = program.arguments(__doc__, argv, sizes, texts)
    logs.configure("bench", "ERROR")
    core = core_rate(20 if given.quick else 300)
    with program.folder() as home:
        given.folder = home
        few, many = program.run(measure_both(given), uvloop.run)
    settings = {"measured": given.measured, "batch": given.batch}
    Report("plan_core", "Transitions of plans", rows(core, few, many), settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
