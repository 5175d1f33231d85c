"""The queue on a real PostgreSQL: accepted once, ordered by target, fair, recovered, bounded."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from graph_adapter.application.lease_operations import lease_operations
from graph_adapter.application.purge_operations import purge_operations
from graph_adapter.application.recover_operations import recover_operations
from graph_adapter.application.run_operations import run_operations
from graph_adapter.domain.admission import INTERRUPTION_COUNT_MAX
from graph_adapter.domain.fairness import Limits, Share
from mesh_messaging.testing import drain_outbox
from mesh_runtime.clock import ManualClock, Uuid7Ids
from mesh_runtime.errors import InvalidInput, Unavailable
from support.graph_rig import REPLIES, Rig, ensure
from support.simulated import Tenant
from support.waiting import eventually

BULK_REPLIES = "ucmesh.orchestrator-bulk.replies.v1"


@pytest.fixture(autouse=True)
async def empty(idle_rig: Rig) -> None:
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("TRUNCATE operation, outbox, tenant, created_object"))


async def lease(rig: Rig, limits: Limits | None = None, **changes: Any) -> list[list[str]]:
    """Target names leased, per tenant."""
    works = await lease_operations(
        rig.store,
        {},
        limits or Limits(),
        lease_seconds=5,
        last_served=None,
        clock=rig.ports.clock,
        ids=Uuid7Ids(),
        **changes,
    )
    return [[operation.command.target for operation in work.operations] for work in works]


def order(rig: Rig, tenant: Tenant, target: str, **changes: Any) -> dict[str, Any]:
    return rig.order(tenant, "tenant.probe", {}, target=target, **changes)


async def outbox(rig: Rig) -> list[Any]:
    async with rig.db.transaction() as tx:
        return list(await drain_outbox(tx))


async def test_a_reply_goes_to_the_requester_once_under_its_plan(rig: Rig, tenant: Tenant) -> None:
    plan_id = str(uuid.uuid4())
    traceparent = f"00-{'a' * 32}-{'b' * 16}-00"
    sent = order(rig, tenant, "t", plan_id=plan_id)
    await rig.send(sent, traceparent=traceparent)
    await rig.reply(sent["operation_id"])
    (message,) = await outbox(rig)
    assert (message.topic, message.key) == (REPLIES, plan_id)
    assert message.event.type == "ucmesh.graph.operation.v1.completed"
    assert message.event.tenant == tenant.tenant_id
    assert message.event.traceparent == traceparent
    assert orjson.loads(message.event.data)["operation_id"] == sent["operation_id"]


async def test_a_repeated_command_gets_the_stored_reply_again(rig: Rig, tenant: Tenant) -> None:
    sent = rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
    await rig.send(sent, sent)
    await rig.reply(sent["operation_id"])
    (first,) = await outbox(rig)
    await rig.send(sent)
    (second,) = await outbox(rig)
    assert second.event.data == first.event.data
    assert second.event.id != first.event.id
    assert (second.topic, second.key) == (REPLIES, sent["operation_id"])
    await rig.send(sent | {"reply_to": BULK_REPLIES})
    (third,) = await outbox(rig)
    assert (third.topic, third.event.data) == (BULK_REPLIES, first.event.data), "who asks says where it listens"
    assert len(tenant.state("users")) == 1


async def test_a_repeated_command_under_way_changes_nothing(idle_rig: Rig, tenant: Tenant) -> None:
    sent = order(idle_rig, tenant, "t")
    await idle_rig.send(sent)
    await lease(idle_rig)
    await idle_rig.send(sent)
    assert await outbox(idle_rig) == []
    (row,) = await idle_rig.rows("SELECT state FROM operation")
    assert row.state == "leased"


async def test_what_is_off_the_contract_fails_the_message(idle_rig: Rig, tenant: Tenant) -> None:
    with pytest.raises(InvalidInput):
        await idle_rig.send(order(idle_rig, tenant, "t") | {"reply_to": "ucmesh.graph.commands.v1"})
    assert await idle_rig.rows("SELECT 1 FROM operation") == []


async def test_every_tenant_gets_its_share(idle_rig: Rig, tenant: Tenant) -> None:
    big = [order(idle_rig, tenant, f"a{number}") for number in range(50)]
    small = order(idle_rig, tenant, "b") | {"tenant_id": str(uuid.uuid4())}
    await idle_rig.send(*big, small)
    found = await lease(idle_rig, Limits(run_size_max=10))
    assert sorted(map(len, found)) == [1, 10]


async def test_nobody_starves_among_many_tenants(idle_rig: Rig, tenant: Tenant) -> None:
    orders = [order(idle_rig, tenant, "t") | {"tenant_id": str(uuid.UUID(int=number))} for number in range(1, 201)]
    await idle_rig.send(*orders)
    seen: set[str] = set()
    last = None
    for _ in range(10):
        works = await lease_operations(
            idle_rig.store,
            {},
            Limits(runs_max=20),
            lease_seconds=60,
            last_served=last,
            clock=idle_rig.ports.clock,
            ids=Uuid7Ids(),
        )
        seen.update(work.tenant_id for work in works)
        last = works[-1].tenant_id
    assert len(seen) == 200


async def test_a_tenant_is_bounded_over_all_workers(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.send(*[order(idle_rig, tenant, f"a{number}") for number in range(50)])
    limits = Limits(run_size_max=20, tenant_in_flight_max=30)
    assert [len(found) for found in await lease(idle_rig, limits)] == [20]
    assert [len(found) for found in await lease(idle_rig, limits)] == [10]
    assert await lease(idle_rig, limits) == []


async def test_a_lease_looks_at_a_few_rows_whatever_the_planner_remembers(idle_rig: Rig, tenant: Tenant) -> None:
    """Statistics of a quiet hour say that no operation is open; a plan made for that must not meet a queue."""
    await idle_rig.send(*[order(idle_rig, tenant, f"done{number}") for number in range(300)])
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("UPDATE operation SET state = 'done'"))
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("ANALYZE operation"))
    await idle_rig.send(*[order(idle_rig, tenant, f"t{number}") for number in range(1500)])
    now = idle_rig.ports.clock.now()
    async with idle_rig.db.transaction() as tx:
        shares, leases = [Share(tenant.tenant_id, 100)], {tenant.tenant_id: uuid.uuid4()}
        leased = await idle_rig.store.on(tx).operations.lease(shares, leases, now, now + timedelta(minutes=1))
        read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'operation'"
        rows_read = (await tx.execute(text(read))).scalar_one()
    assert len(leased) == 100
    assert rows_read <= 40 * len(leased), "not every waiting operation for each target"


async def test_workers_side_by_side_never_share_an_operation(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.send(*[order(idle_rig, tenant, f"t{number % 40}") for number in range(120)])
    found = await asyncio.gather(*[lease(idle_rig, Limits(run_size_max=7)) for _ in range(8)])
    runs = [work for works in found for work in works]
    assert all(len(run) == 3 * len(set(run)) for run in runs), "all of a target is in one run"
    targets = [target for run in runs for target in set(run)]
    assert len(targets) == len(set(targets)) >= 7


async def test_a_late_holder_is_neither_written_nor_answered(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    sent = idle_rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
    await idle_rig.send(sent)
    clock = idle_rig.ports.clock
    (slow,) = await lease_operations(
        idle_rig.store, {}, Limits(), lease_seconds=1, last_served=None, clock=clock, ids=Uuid7Ids()
    )
    future = ManualClock(datetime.now(UTC) + timedelta(seconds=2))
    assert await recover_operations(idle_rig.store, future) == 1
    (fast,) = await lease_operations(
        idle_rig.store, {}, Limits(), lease_seconds=60, last_served=None, clock=future, ids=Uuid7Ids()
    )
    assert fast.operations[0].interrupted
    await run_operations(slow, idle_rig.ports)
    assert await outbox(idle_rig) == []
    await run_operations(fast, idle_rig.ports)
    (message,) = await outbox(idle_rig)
    reply = orjson.loads(message.event.data)
    # The late holder did create the user; the one that answers recognises it as its own operation's doing.
    assert (reply["outcome"], reply["output"]["created"]) == ("succeeded", True)
    assert len(tenant.state("users")) == 1


async def test_a_slow_answer_does_not_cost_a_living_worker_its_lease(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    idle_rig.lease_seconds = 2.0
    tenant.turn(graph_latency_seconds=4.0)
    async with idle_rig.working(2):
        reply = await idle_rig.succeed(tenant, "user.ensure", ensure(tenant, "ada"))
    assert reply["attempts"] == 1
    (row,) = await idle_rig.rows("SELECT interruptions FROM operation")
    assert row.interruptions == 0


async def test_an_operation_that_kills_its_worker_again_and_again_is_given_up(rig: Rig, tenant: Tenant) -> None:
    sent = order(rig, tenant, "t")
    await rig.send(sent)
    await rig.reply(sent["operation_id"])
    async with rig.db.transaction() as tx:
        await tx.execute(
            text(
                "UPDATE operation SET state = 'queued', reply = NULL, interruptions = :deaths WHERE operation_id = :id"
            ),
            {"id": uuid.UUID(sent["operation_id"]), "deaths": INTERRUPTION_COUNT_MAX + 1},
        )
    reply = await rig.reply(sent["operation_id"])
    assert (reply["outcome"], reply["error"]["code"]) == ("failed", "internal")


async def test_finished_operations_are_forgotten_after_a_while(rig: Rig, tenant: Tenant) -> None:
    await rig.user(tenant, "ada")
    soon = ManualClock(datetime.now(UTC) + timedelta(days=1))
    late = ManualClock(datetime.now(UTC) + timedelta(days=8))
    assert await purge_operations(rig.store, timedelta(days=7), soon) == 0
    assert await purge_operations(rig.store, timedelta(days=7), late) == 1
    assert await rig.rows("SELECT 1 FROM created_object") == []


async def test_five_workers_do_everything_exactly_once(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    orders = [idle_rig.order(tenant, "user.ensure", ensure(tenant, f"user{number:03}")) for number in range(150)]
    async with idle_rig.working(5):
        await idle_rig.send(*orders)
        replies = await idle_rig.replies(orders, seconds=40)
    assert {reply["outcome"] for reply in replies} == {"succeeded"}
    assert all(reply["changed"] for reply in replies)
    assert len(tenant.state("users")) == 150
    assert len(await outbox(idle_rig)) == 150


async def test_a_worker_that_is_told_to_stop_puts_back_what_it_has_not_finished(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    tenant.turn(graph_latency_seconds=0.3)
    orders = [idle_rig.order(tenant, "user.patch", {"user_id": str(uuid.uuid4()), "attributes": {"city": "x"}})]
    user = tenant.graph().post("/users", json=tenant.user_body("ada")).json()["id"]
    orders.append(idle_rig.order(tenant, "user.patch", {"user_id": user, "attributes": {"city": "Bern"}}))
    async with idle_rig.working():
        await idle_rig.send(*orders)
        await eventually(lambda: idle_rig.rows("SELECT 1 FROM operation WHERE state = 'leased'"), what="a lease")
    states = {row.state for row in await idle_rig.rows("SELECT state FROM operation")}
    assert "leased" not in states
    async with idle_rig.working():
        replies = await idle_rig.replies(orders)
    assert [reply["outcome"] for reply in replies] == ["refused", "succeeded"]
    assert replies[1]["undo"]["params"]["attributes"] == {"city": None}


async def test_activation_of_something_unknown_waits_for_its_delivery(idle_rig: Rig, tenant: Tenant) -> None:
    with pytest.raises(Unavailable):
        await idle_rig.activate(tenant, uuid.uuid4())
