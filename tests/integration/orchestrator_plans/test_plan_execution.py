"""Plans on the real database: started, carried on in batches, ended, announced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

import orjson
import pytest

from mesh_runtime.errors import InvalidInput
from orchestrator.application.fire_timers import fire_timers
from orchestrator.domain.plan import Retry, Wait, ref
from orchestrator.domain.ports import Refusal
from support.plan_mesh import PlanMesh, counted, joiner, later
from support.plan_script import JOINER_CHANGES, TENANT, Behaviour, op


async def test_a_joiner_runs_to_its_end_and_is_announced(mesh):
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    found = await mesh.plan(plan_id)
    assert found.plan.state == "succeeded"
    assert (found.operations_total, found.operations_succeeded, found.operations_failed) == (5, 5, 0)
    assert found.plan.effects_data == {"site": "zurich"}
    assert mesh.sent(plan_id) == ["test.observe", "test.user", "test.licence", "test.group", "test.number"]
    assert mesh.announced(plan_id) == ["created", "succeeded"]
    [settled] = mesh.rules.settled
    assert (settled.plan_id, settled.state, settled.observed) == (plan_id, "succeeded", {"id": "observe"})
    assert {each.key for each in settled.operations if each.changed} == {"user", "licence", "group", "number"}


async def test_commands_carry_what_the_contract_says(mesh):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    [plan_id] = await mesh.start(mesh.start_request(traceparent=trace))
    [message] = await mesh.collect()
    assert (message.topic, message.key) == ("ucmesh.graph.commands.v1", f"{TENANT}:zoe")
    assert message.event.type == "ucmesh.graph.operation.v1.execute"
    assert message.event.tenant == TENANT
    assert message.event.traceparent.split("-")[1] == trace.split("-")[1]
    data = message.event.json()
    assert data["plan_id"] == str(plan_id)
    assert data["reply_to"] == "ucmesh.orchestrator.replies.v1"
    assert data["lane"] == "urgent"
    assert (await mesh.plan(plan_id)).plan.traceparent == message.event.traceparent


@pytest.mark.parametrize(("count", "lane"), [(1, "urgent"), (20, "normal"), (21, "bulk")])
async def test_the_lane_follows_the_size_of_the_batch(mesh, count, lane):
    await mesh.start(*[mesh.start_request(f"NW-{n}") for n in range(count)])
    assert {message.event.json()["lane"] for message in await mesh.collect()} == {lane}


@pytest.mark.parametrize("lane", ["urgent", "normal", "bulk"])
async def test_the_lane_of_a_plan_chooses_the_topics_of_its_commands_and_of_their_answers(mesh, lane):
    await mesh.start(mesh.start_request(lane=lane))
    await mesh.run_to_end()
    ways = {(message.topic, message.event.json()["reply_to"]) for message in mesh.commands}
    own = "-bulk" if lane == "bulk" else ""
    replies = f"ucmesh.orchestrator{own}.replies.v1"
    assert ways == {(f"ucmesh.{service}{own}.commands.v1", replies) for service in ("graph", "pwsh")}


async def test_a_batch_of_plans_takes_as_many_statements_as_one(mesh, db):
    counts = {}
    for size in (1, 50):
        await mesh.start(*[mesh.start_request(f"NW-{n}") for n in range(size)])
        events = mesh.answers(await mesh.collect())
        with counted(db) as statements:
            await mesh.take(events)
        counts[size] = len(statements)
        await mesh.run_to_end()
    assert counts[1] == counts[50]


async def test_a_refused_operation_is_compensated_in_the_tenant(db):
    mesh = PlanMesh(db, joiner, {**JOINER_CHANGES, "number": Behaviour(outcome="refused")})
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "compensated"
    assert mesh.tenants[plan_id].changed == set()
    assert mesh.sent(plan_id)[-1] == "undo.user"
    assert mesh.announced(plan_id) == ["created", "compensated"]
    assert (await mesh.plan(plan_id)).plan.reason.code == "no"


async def test_the_planners_refusal_and_an_empty_plan_end_at_once(db):
    answers = {"NW-1": Refusal("no-seats", "no seats left", "buy some"), "NW-2": []}
    mesh = PlanMesh(db, lambda request: answers[employees[request.plan_id]])
    requests = [mesh.start_request("NW-1"), mesh.start_request("NW-2")]
    employees = {request.plan_id: request.employee_id for request in requests}
    refused, empty_plan = await mesh.start(*requests)
    await mesh.run_to_end()
    assert await mesh.state(refused) == "refused"
    assert (await mesh.plan(refused)).plan.reason.remedy == "buy some"
    assert await mesh.state(empty_plan) == "succeeded"
    assert mesh.sent(empty_plan) == ["test.observe"]


async def test_a_plan_the_rules_refuse_at_intake_is_recorded_and_settled(mesh):
    request = mesh.start_request(observe=None, tenant_id="", refusal=Refusal("site-unknown", "no site fits"))
    [plan_id] = await mesh.start(request)
    assert await mesh.collect() == []
    assert await mesh.state(plan_id) == "refused"
    assert mesh.announced(plan_id) == ["created", "refused"]
    assert [each.state for each in mesh.rules.settled] == ["refused"]


async def test_a_scheduled_plan_observes_at_its_time(mesh):
    [plan_id] = await mesh.start(mesh.start_request(not_before=later(mesh, 86_400)))
    assert await mesh.collect() == []
    assert await mesh.state(plan_id) == "scheduled"
    await mesh.wait(86_399)
    assert await mesh.collect() == []
    await mesh.wait(1)
    assert await mesh.state(plan_id) == "observing"
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "succeeded"


async def test_duplicates_and_unknown_replies_change_nothing(mesh, db):
    [plan_id] = await mesh.start(mesh.start_request())
    events = mesh.answers(await mesh.collect())
    await mesh.take([*events, *events])
    await mesh.take(events)
    assert len(await mesh.collect()) == 1
    stranger = replace(events[0], data=events[0].data.replace(str(plan_id).encode(), str(UUID(int=99)).encode()))
    await mesh.take([stranger])
    assert await mesh.state(plan_id) == "running"


async def test_a_reply_from_another_tenant_is_not_taken(mesh):
    [plan_id] = await mesh.start(mesh.start_request())
    [event] = mesh.answers(await mesh.collect())
    await mesh.take([replace(event, data=event.data.replace(TENANT.encode(), b"another-tenant"))])
    assert await mesh.state(plan_id) == "observing"
    await mesh.take([event])
    assert await mesh.state(plan_id) == "running"


async def test_replies_without_a_plan_go_to_the_rules(mesh):
    await mesh.start(mesh.start_request())
    [event] = mesh.answers(await mesh.collect())
    data = {**event.json(), "plan_id": None, "operation": "tenant.observe"}
    await mesh.take([replace(event, data=orjson.dumps(data))])
    assert [reply.operation for reply in mesh.rules.unplanned] == ["tenant.observe"]


async def test_a_reply_off_the_contract_is_invalid_and_names_the_field(mesh):
    await mesh.start(mesh.start_request())
    [event] = mesh.answers(await mesh.collect())
    with pytest.raises(InvalidInput, match="outcome"):
        await mesh.take([replace(event, data=event.data.replace(b"succeeded", b"done"))])


async def test_waits_learn_the_tenants_lag(db):
    wait = Wait(first_seconds=10, factor=1.5, deadline_seconds=600, gate="licence.teams")
    mesh = PlanMesh(db, lambda _request: [op("teams", wait=wait)], {"teams": Behaviour(failures=2, changes=False)})
    [first] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    assert await mesh.state(first) == "succeeded"
    async with db.read() as tx:
        lags = await mesh.engine.rows.lags(tx, [TENANT])
    learned = lags[TENANT]["licence.teams"]
    assert 35 <= learned <= 42
    await mesh.start(mesh.start_request("NW-2"))
    await mesh.settle_down()
    async with db.read() as tx:
        due = await mesh.engine.rows.next_due(tx)
    assert (due - mesh.clock.now()).total_seconds() == pytest.approx(learned * 0.6)


async def test_a_local_wait_is_woken_by_the_awaited_persons_plan(db):
    boss_wait = replace(await_person("NW-9"), wait=Wait(first_seconds=300, deadline_seconds=9000))
    waits = [boss_wait, op("manager", "boss", params={"manager": ref("boss", "user_id")})]
    plans: dict[UUID, list] = {}
    mesh = PlanMesh(db, lambda request: plans[request.plan_id], {"user": Behaviour(), "manager": Behaviour()})
    worker, boss = mesh.start_request("NW-1"), mesh.start_request("NW-9")
    plans.update({worker.plan_id: waits, boss.plan_id: [op("user")]})
    await mesh.start(worker)
    await mesh.settle_down()
    assert await mesh.states(worker.plan_id) == {"boss": "waiting", "manager": "pending"}
    await mesh.start(boss)
    await mesh.settle_down()
    assert await mesh.state(boss.plan_id) == "succeeded"
    await mesh.wait(0)
    await mesh.settle_down()
    assert await mesh.state(worker.plan_id) == "succeeded"
    assert mesh.commands[-1].event.json()["params"] == {"manager": "id"}


async def test_silence_is_asked_about_and_the_stored_answer_taken(mesh):
    [plan_id] = await mesh.start(mesh.start_request())
    [lost] = await mesh.collect()
    await mesh.wait(130)
    [again] = await mesh.collect()
    assert again.event.json()["operation_id"] == lost.event.json()["operation_id"]
    assert again.event.id != lost.event.id
    await mesh.take(mesh.answers([again]))
    assert await mesh.state(plan_id) == "running"


def await_person(employee_id):
    return op(
        "boss",
        target="mesh",
        name="person.await-provisioned",
        params={"employee_id": employee_id},
        subject=f"northwind:{employee_id}",
        wait=Wait(first_seconds=10, factor=1, deadline_seconds=9000),
    )


async def test_one_plan_the_rules_cannot_handle_does_not_stop_the_timers_of_others(db):
    plans = {}
    mesh = PlanMesh(db, lambda request: plans[request.plan_id])
    bad, good = mesh.start_request("NW-1"), mesh.start_request("NW-2")
    plans.update({bad.plan_id: [await_person("POISON")], good.plan_id: [await_person("NW-9")]})
    await mesh.start(bad, good)
    await mesh.settle_down()
    mesh.rules.poison = "POISON"
    mesh.rules.provisioned["NW-9"] = "id"
    await mesh.wait(10)
    assert await mesh.state(good.plan_id) == "succeeded"
    assert (await mesh.plan(bad.plan_id)).plan.due_at == later(mesh, 60)
    mesh.rules.poison = None
    mesh.rules.provisioned["POISON"] = "id"
    await mesh.wait(60)
    assert await mesh.state(bad.plan_id) == "succeeded"


async def test_two_timer_workers_share_the_due_plans(db):
    retry = Retry(first_seconds=1)
    mesh = PlanMesh(db, lambda _request: [op("user", retry=retry)], {"user": Behaviour(failures=1)})
    plan_ids = await mesh.start(*[mesh.start_request(f"NW-{n}") for n in range(40)])
    await mesh.settle_down()
    mesh.clock.advance(5)
    fired = await asyncio.gather(*[fire_timers(mesh.engine, db, 25) for _ in range(4)])
    assert sum(each.count for each in fired) == 40
    await mesh.settle_down()
    assert {await mesh.state(plan_id) for plan_id in plan_ids} == {"succeeded"}
    assert sum(name == "test.user" for name in mesh.sent()) == 80
