"""Several consumers, timers and admins at the same plans at once: one end, and it is the right one."""

from __future__ import annotations

import asyncio
import random

import pytest

from mesh_runtime.errors import Conflict, Unavailable
from orchestrator.application.cancel_plan import cancel_plan
from orchestrator.application.fire_timers import fire_timers
from orchestrator.domain.plan import Retry
from support.plan_mesh import PlanMesh
from support.plan_script import Behaviour, op


def operations(_request):
    retry = Retry(first_seconds=1)
    return [op("user", retry=retry), op("licence", "user"), op("group", "user"), op("number", "licence")]


async def repeated(work):
    """As the consumer does: what the database asked to try again is tried again."""
    while True:
        try:
            return await work()
        except Unavailable:
            continue


@pytest.mark.parametrize("outcome", ["succeeded", "refused"])
async def test_replies_twice_in_any_split_while_timers_fire(db, outcome):
    behaviours = {key: Behaviour(failures=1) for key in ("user", "licence", "group")}
    mesh = PlanMesh(db, operations, {**behaviours, "number": Behaviour(outcome=outcome)})
    plan_ids = await mesh.start(*[mesh.start_request(f"NW-{n}") for n in range(25)])
    chance = random.Random(outcome)
    for _ in range(60):
        events = mesh.answers(await mesh.collect())
        events += events
        chance.shuffle(events)
        parts = [events[start::3] for start in range(3) if events[start::3]]
        mesh.clock.advance(3)
        await asyncio.gather(
            *[repeated(lambda part=part: mesh.take(part)) for part in parts],
            *[repeated(lambda: fire_timers(mesh.engine, db, 7)) for _ in range(2)],
        )
        states = {plan_id: await mesh.state(plan_id) for plan_id in plan_ids}
        if set(states.values()) <= {"succeeded", "compensated"}:
            break
    expected = {"succeeded"} if outcome == "succeeded" else {"compensated"}
    assert set(states.values()) == expected
    for plan_id in plan_ids:
        assert await mesh.in_place(plan_id) == mesh.tenants[plan_id].changed
        assert len(mesh.tenants[plan_id].done) == len(set(mesh.tenants[plan_id].done))


async def test_a_cancel_that_races_the_last_reply_has_one_winner(db):
    mesh = PlanMesh(db, lambda _request: [op("user")], {"user": Behaviour()})
    for turn in range(10):
        [plan_id] = await mesh.start(mesh.start_request(f"NW-{turn}"))
        await mesh.deliver()
        events = mesh.answers(await mesh.collect())
        cancelled, _ = await asyncio.gather(
            repeated(lambda plan_id=plan_id: cancel_plan(mesh.engine, db, plan_id, actor="ann")),
            repeated(lambda events=events: mesh.take(events)),
            return_exceptions=True,
        )
        await mesh.run_to_end()
        if isinstance(cancelled, Conflict):
            assert await mesh.state(plan_id) == "succeeded"
            assert mesh.tenants[plan_id].changed == {"user"}
        else:
            assert await mesh.state(plan_id) == "cancelled"
            assert mesh.tenants[plan_id].changed == set()
