"""What Microsoft and the network do to us: throttling, outages, lost answers, lagging replicas, stale tokens."""

import asyncio
import time
from collections.abc import Callable

import pytest

from support.graph_rig import Rig, ensure
from support.graph_rig import rig as made
from support.simulated import Simulator, Tenant, install, tenant_spec
from support.toxic import toxic
from support.waiting import eventually


def users(tenant: Tenant) -> list[str]:
    return [user["userPrincipalName"] for user in tenant.state("users")]


def group_id(tenant: Tenant, name: str = "All staff") -> str:
    return next(str(group["id"]) for group in tenant.state("groups") if group["displayName"] == name)


async def test_throttled_operations_wait_and_succeed(rig: Rig, tenant: Tenant) -> None:
    tenant.fault(action="status", status=429, method="POST", path="/users", times=5, retry_after_seconds=1)
    orders = [rig.order(tenant, "user.ensure", ensure(tenant, f"user{number}")) for number in range(8)]
    began = time.monotonic()
    await rig.send(*orders)
    replies = await rig.replies(orders)
    assert {reply["outcome"] for reply in replies} == {"succeeded"}
    assert {reply["output"]["created"] for reply in replies} == {True}
    assert time.monotonic() - began >= 1
    assert len(users(tenant)) == 8


async def test_a_throttled_tenant_does_not_hold_up_another(rig: Rig, tenant: Tenant, simulator: Simulator) -> None:
    other = install(simulator, tenant_spec())
    await rig.activate(other)
    tenant.fault(action="status", status=429, times=0, retry_after_seconds=30)
    stuck = [rig.order(tenant, "tenant.probe", {}) for _ in range(50)]
    await rig.send(*stuck)
    paused = "SELECT 1 FROM tenant WHERE tenant_id = :id AND not_before > now() + interval '20 seconds'"
    await eventually(lambda: rig.rows(paused, id=tenant.tenant_id), what="the pause of the throttled tenant")
    began = time.monotonic()
    await asyncio.gather(*[rig.succeed(other, "tenant.probe", {}) for _ in range(10)])
    assert time.monotonic() - began < 10
    states = await rig.rows("SELECT state, attempts FROM operation WHERE tenant_id = :id", id=tenant.tenant_id)
    assert {row.state for row in states} == {"queued"}
    assert max(row.attempts for row in states) <= 2


async def test_throttling_beyond_the_deadline_fails_as_throttled(rig: Rig, tenant: Tenant) -> None:
    tenant.fault(action="status", status=429, times=0, retry_after_seconds=3600)
    reply = await rig.execute(tenant, "tenant.probe", {})
    assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "throttled", True)


async def test_published_limits_are_respected_to_the_end(rig: Rig, tenant: Tenant) -> None:
    tenant.turn(throttled_but_applied_probability=0.5)
    tenant.fault(action="status-after", status=429, method="POST", path="/users", times=3, retry_after_seconds=1)
    orders = [rig.order(tenant, "user.ensure", ensure(tenant, f"user{number}")) for number in range(6)]
    await rig.send(*orders)
    replies = await rig.replies(orders)
    # Throttled and done all the same: found again, and still ours to undo.
    assert [reply["output"]["created"] for reply in replies] == [True] * 6
    assert [reply["undo"]["operation"] for reply in replies] == ["user.delete"] * 6
    assert len(users(tenant)) == 6


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_an_outage_is_waited_out(rig: Rig, tenant: Tenant, status: int) -> None:
    tenant.fault(action="status", status=status, times=3)
    reply = await rig.execute(tenant, "user.ensure", ensure(tenant, "ada"))
    assert reply["outcome"] == "succeeded"
    assert users(tenant) == [f"ada@{tenant.domain}"]


async def test_an_endless_outage_ends_in_a_retryable_failure(rig: Rig, tenant: Tenant) -> None:
    tenant.fault(action="status", status=503, times=0)
    reply = await rig.execute(tenant, "tenant.probe", {})
    assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "unavailable", True)


@pytest.mark.parametrize("action", ["drop-after", "status-after"])
async def test_a_user_whose_answer_was_lost_exists_once_and_is_ours(rig: Rig, tenant: Tenant, action: str) -> None:
    tenant.fault(action=action, method="POST", path="/users", status=504)
    reply = await rig.execute(tenant, "user.ensure", ensure(tenant, "ada"))
    assert reply["outcome"] == "succeeded"
    assert reply["output"]["created"] is True
    assert users(tenant) == [f"ada@{tenant.domain}"]
    await rig.undo(tenant, reply)
    assert users(tenant) == []


async def test_a_lost_batch_of_twenty_creates_nobody_twice(rig: Rig, tenant: Tenant) -> None:
    tenant.fault(action="drop-after", method="POST", path="/users", nth=7)
    tenant.fault(action="drop", method="POST", path="/users", nth=3)
    orders = [rig.order(tenant, "user.ensure", ensure(tenant, f"user{number:02}")) for number in range(40)]
    await rig.send(*orders)
    replies = await rig.replies(orders)
    assert [reply["outcome"] for reply in replies] == ["succeeded"] * 40
    assert sorted(users(tenant)) == sorted(order["target"] for order in orders)
    assert all(reply["undo"]["operation"] == "user.delete" for reply in replies)


@pytest.mark.parametrize("action", ["drop", "drop-after"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/users"),
        ("GET", "/directory/deletedItems/microsoft.graph.user"),
        ("POST", "/directory/deletedItems/*/restore"),
        ("PATCH", "/users/*"),
    ],
)
async def test_a_deleted_account_comes_back_once_whichever_step_was_lost(
    rig: Rig, tenant: Tenant, method: str, path: str, action: str
) -> None:
    sku = next(sku["skuId"] for sku in tenant.state("skus") if sku["skuPartNumber"] == "SPE_E3")
    first = await rig.succeed(tenant, "user.ensure", ensure(tenant, "ada"))
    user_id = first["output"]["user_id"]
    await rig.succeed(tenant, "licence.assign", {"user_id": user_id, "add": [{"skuId": sku, "disabledPlans": []}]})
    await rig.undo(tenant, first)
    tenant.fault(action=action, method=method, path=path)
    reply = await rig.succeed(tenant, "user.ensure", ensure(tenant, "ada", city="Basel"))
    assert [fault["struck"] for fault in tenant.state("faults")] == [1]
    assert [(user["id"], user["city"]) for user in tenant.state("users")] == [(user_id, "Basel")]
    assert reply["output"] == {"user_id": user_id, "user_principal_name": f"ada@{tenant.domain}", "created": True}
    await rig.undo(tenant, reply)
    assert users(tenant) == []


LOST_WRITES: dict[str, tuple[str, str, Callable[[str, str, Tenant], dict[str, object]]]] = {
    "group.add-member": ("POST", "/groups/*/members/$ref", lambda u, _, t: {"group_id": group_id(t), "user_id": u}),
    "user.set-manager": ("PUT", "/users/*/manager/$ref", lambda u, m, _: {"user": u, "manager": m}),
    "user.patch": ("PATCH", "/users/*", lambda u, _m, _t: {"user_id": u, "attributes": {"city": "Bern"}}),
    "user.delete": ("DELETE", "/users/*", lambda u, _m, _t: {"user_id": u, "employee_id": "NW-ada"}),
}


@pytest.mark.parametrize("operation", LOST_WRITES)
async def test_other_lost_writes_count_as_our_change_with_an_exact_undo(
    rig: Rig, tenant: Tenant, operation: str
) -> None:
    user, manager = await rig.user(tenant, "ada"), await rig.user(tenant, "boss")
    method, path, params = LOST_WRITES[operation]
    tenant.fault(action="drop-after", method=method, path=path)
    reply = await rig.execute(tenant, operation, params(user, manager, tenant))
    assert reply["outcome"] == "succeeded", reply["error"]
    assert reply["changed"] is True
    assert (reply["undo"] is None) == (operation == "user.delete")


async def test_a_fresh_user_is_waited_for_while_replicas_lag(rig: Rig, tenant: Tenant) -> None:
    tenant.turn(replica_lag_seconds=1.0, replica_miss_probability=1.0, reference_lag_seconds=1.5)
    boss = await rig.user(tenant, "boss")
    user = await rig.user(tenant, "ada")
    sku = next(sku["skuId"] for sku in tenant.state("skus") if sku["skuPartNumber"] == "SPE_E3")
    orders = [
        rig.order(tenant, "user.get", {"user": f"ada@{tenant.domain}"}),
        rig.order(tenant, "user.set-manager", {"user": user, "manager": boss}),
        rig.order(tenant, "group.add-member", {"group_id": group_id(tenant), "user_id": user}),
        rig.order(tenant, "licence.assign", {"user_id": user, "add": [{"skuId": sku, "disabledPlans": []}]}),
        rig.order(tenant, "user.patch", {"user_id": user, "attributes": {"city": "Bern"}}),
    ]
    await rig.send(*orders)
    assert [reply["outcome"] for reply in await rig.replies(orders)] == ["succeeded"] * 5


async def test_undoing_at_once_does_not_take_a_lagging_replica_for_the_truth(rig: Rig, tenant: Tenant) -> None:
    tenant.turn(replica_lag_seconds=1.0, replica_miss_probability=1.0)
    reply = await rig.succeed(tenant, "user.ensure", ensure(tenant, "ada"))
    undone = await rig.undo(tenant, reply)
    assert undone["changed"] is True
    assert users(tenant) == []


async def test_an_expired_token_is_renewed_in_the_middle(rig: Rig, tenant: Tenant) -> None:
    await rig.succeed(tenant, "tenant.probe", {})
    tenant.fault(action="status", status=401, code="InvalidAuthenticationToken", times=2)
    orders = [rig.order(tenant, "tenant.probe", {}) for _ in range(4)]
    await rig.send(*orders)
    assert [reply["outcome"] for reply in await rig.replies(orders)] == ["succeeded"] * 4


async def test_a_network_that_is_down_and_comes_back(simulator: Simulator, postgres_url: str, tenant: Tenant) -> None:
    host, port = simulator.base_url.removeprefix("https://").split(":")
    async with toxic(host, int(port)) as proxy:
        through = f"https://{host}:{proxy.port}/v1.0"
        async with made(simulator, postgres_url, graph_url=through) as rig:
            await rig.activate(tenant)
            async with rig.working():
                # The simulator names itself in no link of this operation, so the other port does not matter.
                await rig.succeed(tenant, "tenant.probe", {})
                await proxy.down()
                order = rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
                await rig.send(order)
                await asyncio.sleep(0.3)
                await proxy.up()
                reply = await rig.reply(order["operation_id"])
                assert reply["outcome"] == "succeeded"
                assert users(tenant) == [f"ada@{tenant.domain}"]
