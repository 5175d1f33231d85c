"""What belongs to one target: leased together, carried out one after the other, never past one that has to wait."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from graph_adapter.application.lease_operations import TenantWork, lease_operations
from graph_adapter.application.recover_operations import recover_operations
from graph_adapter.application.run_operations import run_operations
from graph_adapter.domain.fairness import Limits
from mesh_runtime.clock import Clock, ManualClock, Uuid7Ids
from support.graph_rig import Rig, ensure
from support.simulated import Tenant

IN_ORDER = """
SELECT state, attempts, interrupted, interruptions, started_at, not_before, not_before > received_at AS later, outcome
FROM operation ORDER BY seq
"""


@pytest.fixture(autouse=True)
async def empty(idle_rig: Rig) -> None:
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("TRUNCATE operation, outbox, tenant, created_object"))


async def lease(rig: Rig, limits: Limits | None = None, clock: Clock | None = None) -> list[TenantWork]:
    now = clock or rig.ports.clock
    return await lease_operations(
        rig.store, {}, limits or Limits(), lease_seconds=5, last_served=None, clock=now, ids=Uuid7Ids()
    )


async def leased(rig: Rig, limits: Limits | None = None) -> list[str]:
    """Operation ids, in the order of their run."""
    return [str(each.command.operation_id) for work in await lease(rig, limits) for each in work.operations]


def order(rig: Rig, tenant: Tenant, target: str, **changes: Any) -> dict[str, Any]:
    return rig.order(tenant, "tenant.probe", {}, target=target, **changes)


def ids(orders: Sequence[dict[str, Any]], *places: int) -> list[str]:
    return [orders[place]["operation_id"] for place in places]


async def test_the_operations_of_a_target_are_leased_together_in_their_order(idle_rig: Rig, tenant: Tenant) -> None:
    orders = [order(idle_rig, tenant, target) for target in ("a", "a", "b", "a")]
    await idle_rig.send(*orders)
    assert await leased(idle_rig) == ids(orders, 0, 1, 2, 3)


async def test_a_run_is_measured_in_targets(idle_rig: Rig, tenant: Tenant) -> None:
    orders = [order(idle_rig, tenant, target) for target in ("a", "a", "b", "a")]
    await idle_rig.send(*orders)
    assert await leased(idle_rig, Limits(run_size_max=1)) == ids(orders, 0, 1, 3)
    assert await leased(idle_rig, Limits(tenant_in_flight_max=1)) == []


async def test_what_comes_later_waits_for_those_who_are_at_it(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.send(order(idle_rig, tenant, "a"))
    assert len(await leased(idle_rig)) == 1
    await idle_rig.send(order(idle_rig, tenant, "a", lane="urgent"))
    assert await leased(idle_rig) == []


async def test_a_target_with_very_much_to_do_is_leased_in_parts(idle_rig: Rig, tenant: Tenant) -> None:
    orders = [order(idle_rig, tenant, "a") for _ in range(15)]
    await idle_rig.send(*orders)
    assert await leased(idle_rig) == ids(orders, *range(10))
    assert await leased(idle_rig) == []


@pytest.mark.parametrize(("waiting", "expected"), [(1, []), (2, [0]), (3, [0, 1])])
async def test_nothing_is_leased_past_one_that_waits(
    idle_rig: Rig, tenant: Tenant, waiting: int, expected: list[int]
) -> None:
    orders = [order(idle_rig, tenant, "a") for _ in range(3)]
    await idle_rig.send(*orders)
    async with idle_rig.db.transaction() as tx:
        await tx.execute(
            text("UPDATE operation SET not_before = :later WHERE operation_id = :id"),
            {"later": datetime.now(UTC) + timedelta(minutes=1), "id": orders[waiting - 1]["operation_id"]},
        )
    assert await leased(idle_rig) == ids(orders, *expected)


async def test_nothing_is_leased_past_one_with_another_credential(idle_rig: Rig, tenant: Tenant) -> None:
    orders = [order(idle_rig, tenant, "a", credential=name) for name in ("active", str(uuid.uuid4()), "active")]
    await idle_rig.send(*orders)
    assert await leased(idle_rig) == ids(orders, 0)


async def test_the_urgent_lane_overtakes_also_on_its_own_target_and_a_run_is_of_one_lane(
    idle_rig: Rig, tenant: Tenant
) -> None:
    lanes = (("a", "bulk"), ("b", "normal"), ("a", "urgent"), ("c", "bulk"), ("d", "bulk"))
    orders = [order(idle_rig, tenant, target, lane=lane) for target, lane in lanes]
    await idle_rig.send(*orders)
    assert await leased(idle_rig) == ids(orders, 2, 0)
    assert await leased(idle_rig) == ids(orders, 1)
    assert await leased(idle_rig) == ids(orders, 3, 4)


async def test_one_run_carries_them_out_one_after_the_other(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    upn = f"ada@{tenant.domain}"
    orders = [
        idle_rig.order(tenant, "user.ensure", ensure(tenant, "ada"), target=upn),
        *(
            idle_rig.order(tenant, "user.patch", {"user_id": upn, "attributes": {"jobTitle": title}}, target=upn)
            for title in ("Buyer", "Analyst")
        ),
    ]
    await idle_rig.send(*orders)
    (work,) = await lease(idle_rig)
    await run_operations(work, idle_rig.ports)
    first, second, third = await idle_rig.replies(orders)
    assert [reply["outcome"] for reply in (first, second, third)] == ["succeeded"] * 3
    # Each undo knows what its forerunner left: they did not overlap.
    assert second["undo"]["params"]["attributes"] == {"jobTitle": None}
    assert third["undo"]["params"]["attributes"] == {"jobTitle": "Buyer"}


async def test_those_after_one_that_must_wait_go_back_as_if_never_leased(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    await idle_rig.send(*[order(idle_rig, tenant, "a") for _ in range(3)])
    tenant.fault(action="status", status=503, times=1)
    (work,) = await lease(idle_rig)
    await run_operations(work, idle_rig.ports)
    first, *rest = await idle_rig.rows(IN_ORDER)
    assert (first.state, first.attempts, first.later) == ("queued", 1, True)
    assert first.started_at is not None
    assert [(row.state, row.attempts, row.interrupted, row.started_at) for row in rest] == [
        ("queued", 0, False, None)
    ] * 2
    just_before = ManualClock(first.not_before - timedelta(milliseconds=1))
    assert await lease(idle_rig, clock=just_before) == []


async def test_a_worker_that_stops_gives_back_what_it_has_not_begun(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    await idle_rig.send(*[order(idle_rig, tenant, "a") for _ in range(3)])
    (work,) = await lease(idle_rig)
    idle_rig.ports.stop.set()
    await run_operations(work, idle_rig.ports)
    rows = await idle_rig.rows(IN_ORDER)
    assert [(row.state, row.attempts) for row in rows] == [("queued", 0)] * 3


async def test_an_answer_that_is_a_plain_no_lets_the_next_one_begin(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    orders = [
        idle_rig.order(tenant, "no.such.operation", {}, target="a"),
        idle_rig.order(tenant, "user.get", {"user": f"nobody@{tenant.domain}"}, target="a"),
        order(idle_rig, tenant, "a"),
    ]
    await idle_rig.send(*orders)
    (work,) = await lease(idle_rig)
    await run_operations(work, idle_rig.ports)
    replies = await idle_rig.replies(orders)
    assert [reply["outcome"] for reply in replies] == ["refused", "refused", "succeeded"]


async def test_only_the_first_of_a_target_can_have_begun_when_its_worker_dies(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.send(*[order(idle_rig, tenant, target) for target in ("a", "a", "b")])
    await lease(idle_rig)
    later = ManualClock(datetime.now(UTC) + timedelta(seconds=6))
    assert await recover_operations(idle_rig.store, later) == 3
    rows = await idle_rig.rows(IN_ORDER)
    assert [(row.interrupted, row.interruptions, row.attempts) for row in rows] == [
        (True, 1, 1), (False, 0, 0), (True, 1, 1)
    ]  # fmt: skip
    assert [row.started_at is None for row in rows] == [False, True, False]


async def test_deaths_count_in_a_row_and_not_against_what_was_handed_over(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    await idle_rig.send(order(idle_rig, tenant, "a"))
    begun = datetime.now(UTC)

    def after(seconds: float) -> ManualClock:
        return ManualClock(begun + timedelta(seconds=seconds))

    async def died() -> tuple[bool, int]:
        (row,) = await idle_rig.rows(IN_ORDER)
        return row.interrupted, row.interruptions

    async with idle_rig.db.transaction() as tx:  # as the consumer hands it over
        await tx.execute(
            text(
                "UPDATE operation SET state = 'leased', lease_id = gen_random_uuid(), lease_until = received_at, "
                "attempts = 1, started_at = received_at"
            )
        )
    await recover_operations(idle_rig.store, after(1))
    assert await died() == (True, 0)
    for deaths in (1, 2):
        await lease(idle_rig, clock=after(10 * deaths))
        await recover_operations(idle_rig.store, after(10 * deaths + 9))
        assert await died() == (True, deaths)
    tenant.fault(action="status", status=429, times=1, retry_after_seconds=1)
    (work,) = await lease(idle_rig, clock=after(40))
    await run_operations(work, idle_rig.ports)
    assert await died() == (False, 0)


async def test_a_late_holder_does_not_go_on_to_the_next_of_the_target(idle_rig: Rig, tenant: Tenant) -> None:
    await idle_rig.activate(tenant)
    await idle_rig.send(*[order(idle_rig, tenant, "a") for _ in range(2)])
    (slow,) = await lease(idle_rig)
    assert await recover_operations(idle_rig.store, ManualClock(datetime.now(UTC) + timedelta(seconds=6))) == 2
    await run_operations(slow, idle_rig.ports)
    rows = await idle_rig.rows(IN_ORDER)
    assert [(row.state, row.outcome) for row in rows] == [("queued", None)] * 2
    counts = tenant.state("requests")["counts"]
    assert sum(count for name, count in counts.items() if name.startswith("graph ")) == 1, "of the first one only"
