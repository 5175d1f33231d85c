"""Somebody wants an ended plan tried again, or a plan stopped and undone."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from mesh_runtime.errors import Conflict, NotFound, Refused
from orchestrator.application.cancel_plan import cancel_plan
from orchestrator.application.retry_plan import retry_plan
from orchestrator.domain.ports import Observation, Refusal
from support.plan_mesh import PlanMesh
from support.plan_script import TENANT, Behaviour, op


async def test_a_held_plan_is_retried_and_cancelled_through_the_use_cases(db):
    mesh = PlanMesh(
        db,
        lambda _request: [op("user"), op("mailbox", "user", failure="hold")],
        {"user": Behaviour(), "mailbox": Behaviour(outcome="refused")},
    )
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "held"
    assert await retry_plan(mesh.engine, db, plan_id) == "observing"
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "held"
    assert (await mesh.plan(plan_id)).plan.round == 2
    assert await cancel_plan(mesh.engine, db, plan_id, actor="ann") == "compensating"
    await mesh.run_to_end()
    assert await mesh.state(plan_id) == "cancelled"
    assert mesh.tenants[plan_id].changed == set()
    assert mesh.announced(plan_id) == ["created", "held", "held", "cancelled"]
    assert (await mesh.plan(plan_id)).plan.reason.message == "cancelled by ann"


async def test_what_cannot_be_retried_or_cancelled_says_so(mesh, db):
    [plan_id] = await mesh.start(mesh.start_request())
    with pytest.raises(Conflict):
        await retry_plan(mesh.engine, db, plan_id)
    await mesh.run_to_end()
    with pytest.raises(Conflict):
        await retry_plan(mesh.engine, db, plan_id)
    with pytest.raises(Conflict):
        await cancel_plan(mesh.engine, db, plan_id, actor="ann")
    with pytest.raises(NotFound):
        await cancel_plan(mesh.engine, db, UUID(int=5), actor="ann")


async def test_a_retry_todays_rules_refuse_leaves_the_plan_as_it_was(db):
    mesh = PlanMesh(db, lambda _request: Refusal("no-seats", "none"))
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    mesh.rules.observation = Refusal("site-unknown", "no site fits")
    with pytest.raises(Refused) as caught:
        await retry_plan(mesh.engine, db, plan_id)
    assert caught.value.code == "site-unknown"
    assert (await mesh.plan(plan_id)).plan.round == 1


async def test_no_undo_ever_crosses_tenants(db):
    mesh = PlanMesh(
        db,
        lambda _request: [op("user"), op("mailbox", "user", failure="hold")],
        {"user": Behaviour(), "mailbox": Behaviour(outcome="refused")},
    )
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    mesh.rules.observation = Observation("another-tenant", op("observe", name="test.observe"))
    with pytest.raises(Refused) as caught:
        await retry_plan(mesh.engine, db, plan_id)
    assert caught.value.code == "tenant-changed"
    [elsewhere] = await mesh.start(mesh.start_request(tenant_id="another-tenant"))
    for message in await mesh.collect():
        [event] = mesh.answers([message])
        await mesh.take([replace(event, data=event.data.replace(TENANT.encode(), b"another-tenant"))])
    assert (await mesh.plan(elsewhere)).plan.reason.code == "tenant-changed"
