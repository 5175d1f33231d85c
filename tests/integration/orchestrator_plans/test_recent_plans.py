"""A replica keeps the operations it saw. Whoever wrote since, the next step begins with what the database holds."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest

from orchestrator.adapters.db.plan_rows import DatabasePlanRows
from orchestrator.application.cancel_plan import cancel_plan
from orchestrator.application.fire_timers import fire_timers
from orchestrator.application.start_plans import start_plans
from orchestrator.application.take_replies import take_replies
from orchestrator.domain.plan import Retry, Wait
from orchestrator.wire_plans import from_completed
from support.plan_mesh import PlanMesh, counted, joiner
from support.plan_script import JOINER_CHANGES, Behaviour, op


def plain(operations):
    """Everything an operation is, whether it was read or kept."""
    return [
        {field.name: getattr(row, field.name) for field in fields(row)}
        | {"definition": row.spec, "output": row.output_data, "undo": row.undo_data, "error": row.error_data}
        for row in operations
    ]


async def loaded(db, rows, plan_ids):
    async with db.transaction() as tx:
        return {each.plan.plan_id: plain(each.operations) for each in await rows.load(tx, plan_ids)}


class RolledBack(Exception):  # noqa: N818
    """The process died before its commit."""


def retrying(_request):
    retry = Retry(first_seconds=1)
    wait = Wait(first_seconds=2, factor=1, ready={"id": {"$exists": True}}, gate="test.gate")
    return [
        op("user", retry=retry),
        op("licence", "user", retry=retry, params={"of": {"$from": "user", "path": "id"}}),
        op("group", "user", failure="continue"),
        op("there", "licence", wait=wait),
        op("number", "there", target="pwsh", retry=retry),
        op("proof", ("group", "number"), expect={"id": {"$one_of": ["proof", None]}}),
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_replicas_that_take_turns_by_chance_never_begin_with_what_is_old(db, seed):
    chance = random.Random(seed)
    behaviours = {key: Behaviour(failures=chance.randrange(2)) for key in ("user", "licence", "number")}
    mesh = PlanMesh(db, retrying, {**behaviours, "group": Behaviour(outcome=chance.choice(["succeeded", "refused"]))})
    # Two replicas, one with too few places, and one of a release that keeps nothing and tells nobody.
    replicas = [replace(mesh.engine, rows=DatabasePlanRows(size)) for size in (100, 100, 3, 0)]
    plan_ids = await mesh.start(*[mesh.start_request(f"NW-{n}") for n in range(8)])
    events, ended = [], set()
    while ended != set(plan_ids):
        mesh.engine = chance.choice(replicas)
        events += mesh.answers(await mesh.collect())
        chance.shuffle(events)
        part, events = events[: chance.randint(0, len(events))], events[chance.randint(0, len(events)) :]
        if part and chance.random() < 0.2:
            with pytest.raises(RolledBack):
                await take_and_die(mesh, part)
        if part:
            await mesh.take(part)
        if not events:
            mesh.clock.advance(chance.choice([1, 3, 140]))
            await fire_timers(chance.choice(replicas), db)
        stored = await loaded(db, DatabasePlanRows(0), plan_ids)
        for replica in chance.sample(replicas, 2):
            assert await loaded(db, replica.rows, plan_ids) == stored, f"seed {seed}"
        ended = {i for i in plan_ids if await mesh.state(i) in ("succeeded", "compensated", "refused", "held")}
    for plan_id in plan_ids:
        assert await mesh.state(plan_id) == "succeeded"
        assert await mesh.in_place(plan_id) == mesh.tenants[plan_id].changed
        assert len(mesh.tenants[plan_id].done) == len(set(mesh.tenants[plan_id].done))


async def take_and_die(mesh, part):
    """The batch up to its commit, in a transaction that is rolled back."""
    async with mesh.db.transaction() as tx:
        await take_replies(mesh.engine, tx, [from_completed(event) for event in part])
        raise RolledBack


async def start_and_die(mesh, request):
    async with mesh.db.transaction() as tx:
        await start_plans(mesh.engine, tx, [request])
        raise RolledBack


async def test_a_plan_woken_by_the_transaction_that_made_it_is_read_anew(db):
    """Both writes have the same version, so the second one must not be taken for the first."""
    plans = {}
    mesh = PlanMesh(db, lambda request: plans[request.plan_id], {"user": Behaviour()})
    boss, other = mesh.start_request("NW-9"), mesh.start_request("NW-1")
    there = op(
        "boss",
        target="mesh",
        name="person.await-provisioned",
        params={"employee_id": "NW-9"},
        subject="northwind:NW-9",
        wait=Wait(first_seconds=600, factor=1, deadline_seconds=9000),
    )
    plans.update({boss.plan_id: [op("user")], other.plan_id: [there]})
    await mesh.start(boss)
    await mesh.deliver()
    last = mesh.answers(await mesh.collect())
    await mesh.start(other)
    await mesh.take([*mesh.answers(await mesh.collect()), *last])
    rows = mesh.engine.rows
    assert await loaded(db, rows, [other.plan_id]) == await loaded(db, DatabasePlanRows(0), [other.plan_id])
    await mesh.wait(0)
    assert await mesh.state(other.plan_id) == "succeeded"


async def test_a_reply_to_a_plan_that_was_seen_reads_versions_only(mesh, db):
    [plan_id] = await mesh.start(mesh.start_request())
    events = mesh.answers(await mesh.collect())
    with counted(db) as statements:
        await mesh.take(events)
    assert not [statement for statement in statements if "definition::text" in statement]
    mesh.engine = replace(mesh.engine, rows=DatabasePlanRows())
    events = mesh.answers(await mesh.collect())
    with counted(db) as statements:
        await mesh.take(events)
    assert [statement for statement in statements if "definition::text" in statement]
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "succeeded"


async def test_a_cancel_at_another_replica_is_seen_by_the_next_reply(db):
    mesh = PlanMesh(db, joiner, JOINER_CHANGES)
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.deliver()
    await mesh.deliver()
    events = mesh.answers(await mesh.collect())
    await cancel_plan(replace(mesh.engine, rows=DatabasePlanRows()), db, plan_id, actor="ann")
    await mesh.take(events)
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "cancelled"
    assert mesh.tenants[plan_id].changed == set()


async def test_a_start_that_is_rolled_back_leaves_nothing_behind(db):
    mesh = PlanMesh(db, joiner, JOINER_CHANGES)
    request = mesh.start_request()
    with pytest.raises(RolledBack):
        await start_and_die(mesh, request)
    assert await loaded(db, mesh.engine.rows, [request.plan_id]) == {}
    await mesh.start(request)
    stored = await loaded(db, DatabasePlanRows(0), [request.plan_id])
    assert await loaded(db, mesh.engine.rows, [request.plan_id]) == stored
