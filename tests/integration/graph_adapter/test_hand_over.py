"""Commands that come in while there is room are leased in the same statement and handed over in memory: the queue's
order, fairness and recovery hold all the same.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from graph_adapter.application.accept_operations import Desk
from graph_adapter.application.hold_leases import hold_leases
from graph_adapter.application.lease_operations import TenantWork, lease_operations
from graph_adapter.application.recover_operations import give_back, recover_operations
from graph_adapter.application.run_operations import run_operations
from graph_adapter.domain.fairness import Limits
from graph_adapter.domain.tray import Tray
from mesh_runtime import faults
from mesh_runtime.clock import ManualClock, Uuid7Ids
from support.graph_rig import Rig, ensure
from support.simulated import Tenant
from support.waiting import eventually

LIMITS = Limits(tenant_in_flight_max=40)


@pytest.fixture(autouse=True)
async def empty(idle_rig: Rig) -> None:
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("TRUNCATE operation, outbox, tenant, created_object"))


@pytest.fixture
async def tray(idle_rig: Rig) -> AsyncIterator[Tray]:
    """An open tray whose worker is the test."""
    found = Tray(uuid.uuid4(), 30)
    found.is_open = True
    idle_rig.desk = Desk(found, LIMITS, 5)
    yield found
    idle_rig.desk = None


def order(rig: Rig, tenant: Tenant, target: str, **changes: Any) -> dict[str, Any]:
    return rig.order(tenant, "tenant.probe", {}, target=target, **changes)


async def works(
    rig: Rig, tray: Tray | None, *, look: bool = True, clock: ManualClock | None = None
) -> list[TenantWork]:
    return await lease_operations(
        rig.store,
        {},
        LIMITS,
        lease_seconds=5,
        last_served=None,
        clock=clock or rig.ports.clock,
        ids=Uuid7Ids(),
        tray=tray,
        look=look,
    )


def ids(found: Sequence[TenantWork]) -> list[str]:
    return [str(leased.command.operation_id) for work in found for leased in work.operations]


async def states(rig: Rig) -> dict[str, str]:
    return {str(row.operation_id): row.state for row in await rig.rows("SELECT operation_id, state FROM operation")}


async def test_what_comes_in_is_leased_by_the_statement_that_writes_it_down(
    idle_rig: Rig, tray: Tray, tenant: Tenant
) -> None:
    orders = [order(idle_rig, tenant, target) for target in ("a", "b", "a")]
    await idle_rig.send(*orders)
    assert set((await states(idle_rig)).values()) == {"leased"}
    (work,) = await works(idle_rig, tray, look=False)
    assert ids([work]) == [orders[place]["operation_id"] for place in (0, 2, 1)]
    assert {leased.attempts for leased in work.operations} == {1}
    assert work.lease_id == tray.lease_id


async def test_what_is_handed_over_is_carried_out_and_answered(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    sent = idle_rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
    await idle_rig.send(sent)
    (work,) = await works(idle_rig, tray, look=False)
    await run_operations(work, idle_rig.ports)
    assert (await idle_rig.reply(sent["operation_id"]))["outcome"] == "succeeded"


async def test_what_waits_longer_in_the_queue_goes_first(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    tray.is_open = False
    first = order(idle_rig, tenant, "a")
    await idle_rig.send(first)
    tray.is_open = True
    second, other = order(idle_rig, tenant, "b"), order(idle_rig, tenant, "c") | {"tenant_id": str(uuid.uuid4())}
    await idle_rig.send(second, other)
    found = await states(idle_rig)
    assert [found[each["operation_id"]] for each in (first, second, other)] == ["queued", "leased", "leased"]
    # Both tenants are served, the one from the queue and the one from the tray.
    assert set(ids(await works(idle_rig, tray))) == {first["operation_id"], other["operation_id"]}
    assert ids(await works(idle_rig, tray)) == [second["operation_id"]]


async def test_something_urgent_in_the_queue_overtakes_the_tray(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    early, urgent = order(idle_rig, tenant, "a"), order(idle_rig, tenant, "b", lane="urgent")
    await idle_rig.send(early)
    tray.is_open = False
    await idle_rig.send(urgent)
    tray.is_open = True
    assert ids(await works(idle_rig, tray)) == [urgent["operation_id"]]
    assert ids(await works(idle_rig, tray)) == [early["operation_id"]]


async def test_a_flood_leaves_room_for_what_waits_in_the_queue(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    await idle_rig.send(*[order(idle_rig, tenant, f"t{number}") for number in range(35)])
    assert list((await states(idle_rig)).values()).count("leased") == LIMITS.tenant_handed_over_max == 28
    await idle_rig.send(order(idle_rig, tenant, "more"))
    assert len(ids(await works(idle_rig, None))) == 8, "all that waits in the queue"


async def test_a_target_that_is_worked_at_is_left_alone(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    first, second = order(idle_rig, tenant, "a"), order(idle_rig, tenant, "a", lane="urgent")
    await idle_rig.send(first)
    await idle_rig.send(second)
    assert await states(idle_rig) == {first["operation_id"]: "leased", second["operation_id"]: "queued"}
    assert ids(await works(idle_rig, None)) == []
    assert ids(await works(idle_rig, tray)) == [first["operation_id"]]


async def test_a_run_is_of_one_lane_the_urgent_one_first_and_a_targets_operations_together(
    idle_rig: Rig, tray: Tray, tenant: Tenant
) -> None:
    lanes = (("a", "bulk"), ("b", "normal"), ("c", "urgent"), ("a", "bulk"), ("d", "bulk"))
    orders = [order(idle_rig, tenant, target, lane=lane) for target, lane in lanes]
    await idle_rig.send(*orders)
    for places in ((2,), (1,), (0, 3, 4)):
        assert ids(await works(idle_rig, tray)) == [orders[place]["operation_id"] for place in places]


async def test_a_worker_that_stops_gives_back_what_waits_in_every_lane(
    idle_rig: Rig, tray: Tray, tenant: Tenant
) -> None:
    orders = [order(idle_rig, tenant, lane, lane=lane) for lane in ("bulk", "urgent", "normal")]
    await idle_rig.send(*orders)
    await give_back(idle_rig.store, tray, idle_rig.ports.clock)
    assert set((await states(idle_rig)).values()) == {"queued"}
    assert not tray.operation_ids


async def test_nothing_is_handed_over_past_one_with_another_credential(
    idle_rig: Rig, tray: Tray, tenant: Tenant
) -> None:
    orders = [order(idle_rig, tenant, "a", credential=name) for name in ("active", str(uuid.uuid4()), "active")]
    await idle_rig.send(*orders)
    found = await states(idle_rig)
    assert [found[each["operation_id"]] for each in orders] == ["leased", "queued", "queued"]


async def test_the_tray_is_bounded(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    other = {"tenant_id": str(uuid.uuid4())}
    orders = [order(idle_rig, tenant, f"t{number}") | (other if number % 2 else {}) for number in range(35)]
    await idle_rig.send(*orders)
    found = list((await states(idle_rig)).values())
    assert (found.count("leased"), found.count("queued")) == (30, 5)
    assert tray.room == 0


async def test_a_tenant_that_pauses_is_neither_handed_over_nor_begun(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    early, late = order(idle_rig, tenant, "a"), order(idle_rig, tenant, "b")
    await idle_rig.send(early)
    until = datetime.now(UTC) + timedelta(seconds=3)
    async with idle_rig.db.transaction() as tx:
        await tx.execute(
            text("INSERT INTO tenant (tenant_id, not_before) VALUES (:id, :until)"),
            {"id": tenant.tenant_id, "until": until},
        )
    await idle_rig.send(late)
    assert (await states(idle_rig))[late["operation_id"]] == "queued"
    assert await works(idle_rig, tray) == []
    after = ManualClock(until + timedelta(seconds=1))
    assert ids(await works(idle_rig, tray, look=False, clock=after)) == [early["operation_id"]]


async def test_what_a_dead_replica_had_in_its_tray_goes_to_another(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    sent = idle_rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
    await idle_rig.send(sent)
    later = ManualClock(datetime.now(UTC) + timedelta(seconds=6))
    assert await recover_operations(idle_rig.store, later) == 1
    (work,) = await works(idle_rig, None, clock=later)
    assert work.operations[0].interrupted, "it may have begun: nobody can know"
    await run_operations(work, idle_rig.ports)
    async with idle_rig.working():
        assert (await idle_rig.reply(sent["operation_id"]))["output"]["created"] is True
    assert len(tenant.state("users")) == 1


async def test_a_replica_that_slept_past_its_lease_begins_nothing_of_it(
    idle_rig: Rig, tray: Tray, tenant: Tenant
) -> None:
    await idle_rig.send(order(idle_rig, tenant, "a"))
    late = ManualClock(datetime.now(UTC) + timedelta(seconds=6))
    assert await works(idle_rig, tray, clock=late) == []
    assert tray.operation_ids == []


async def test_a_living_replica_keeps_what_waits_in_its_tray(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    sent = order(idle_rig, tenant, "a")
    await idle_rig.send(sent)
    await hold_leases(idle_rig.store, [], tray, 5, ManualClock(datetime.now(UTC) + timedelta(seconds=4)))
    late = ManualClock(datetime.now(UTC) + timedelta(seconds=6))
    assert await recover_operations(idle_rig.store, late) == 0
    assert ids(await works(idle_rig, tray, clock=late)) == [sent["operation_id"]]


async def test_a_rolled_back_batch_leaves_nothing_in_the_tray(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    with faults.inject("db.before_commit", 1, "error"), pytest.raises(faults.FaultInjected):
        await idle_rig.send(order(idle_rig, tenant, "a"))
    assert (tray.operation_ids, tray.expected_count) == ([], 0)
    assert await states(idle_rig) == {}


async def test_a_worker_that_stops_gives_back_what_it_has_not_begun(idle_rig: Rig, tray: Tray, tenant: Tenant) -> None:
    await idle_rig.send(*[order(idle_rig, tenant, target) for target in ("a", "a", "b")])
    tray.is_open = False
    assert await give_back(idle_rig.store, tray, idle_rig.ports.clock) == 3
    rows = await idle_rig.rows("SELECT state, attempts, started_at, interrupted FROM operation")
    assert {tuple(row) for row in rows} == {("queued", 0, None, False)}


async def test_a_worker_waits_at_its_end_for_what_is_being_handed_over(idle_rig: Rig, tenant: Tenant) -> None:
    worker, stop = idle_rig.worker()
    working = asyncio.create_task(worker.run(stop))
    desk = idle_rig.desk
    assert desk is not None
    await eventually(lambda: desk.is_open, what="an open tray")
    async with idle_rig.db.transaction() as tx:
        await idle_rig.handle(tx, order(idle_rig, tenant, "a"))
        stop.set()
        await eventually(lambda: not desk.is_open, what="a worker that ends")
        assert not working.done()
    await asyncio.wait_for(working, 20)
    idle_rig.desk = None
    assert set((await states(idle_rig)).values()) == {"queued"}
