"""A failure at every fault point of every operation, n = 1, 2, 3 ...: the tenant, the reply and what its undo
leaves are those of the undisturbed run.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from mesh_messaging.testing import drain_outbox
from mesh_runtime import faults
from mesh_runtime.errors import MeshError
from support.graph_rig import Rig, ensure
from support.simulated import Tenant

HIT_COUNT_MAX = 40
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def group_id(tenant: Tenant) -> str:
    return next(str(group["id"]) for group in tenant.state("groups") if group["displayName"] == "All staff")


def sku_id(tenant: Tenant, name: str) -> str:
    return next(str(sku["skuId"]) for sku in tenant.state("skus") if sku["skuPartNumber"] == name)


def state(tenant: Tenant) -> dict[str, Any]:
    """The tenant as far as operations can change it, without ids and times."""
    kept = ("displayName", "city", "employeeId", "accountEnabled", "manager_upn", "groups", "licences")
    users = {user["userPrincipalName"]: {name: user.get(name) for name in kept} for user in tenant.state("users")}
    keys = [[key["display_name"] for key in application["keys"]] for application in tenant.state("applications")]
    seats = {sku["skuPartNumber"]: sku["consumed"] for sku in tenant.state("skus")}
    return {"users": users, "keys": keys, "seats": seats}


def plain(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without what may differ from run to run."""
    kept = {name: reply[name] for name in ("outcome", "changed", "output", "undo", "error")}
    return dict(kept | {"text": _IDS.sub("<id>", str(kept))}, output=None, undo=None)


RESTORED = "user.ensure of a deleted account"


async def prepare(rig: Rig, tenant: Tenant) -> dict[str, str]:
    ids = {local: await rig.user(tenant, local, city="Bern") for local in ("ada", "boss", "former")}
    await rig.succeed(tenant, "user.set-manager", {"user": ids["ada"], "manager": ids["former"]})
    e3 = {"skuId": sku_id(tenant, "SPE_E3"), "disabledPlans": []}
    await rig.succeed(tenant, "licence.assign", {"user_id": ids["ada"], "add": [e3]})
    gone = await rig.succeed(tenant, "user.ensure", ensure(tenant, "alan"))
    await rig.succeed(tenant, "licence.assign", {"user_id": gone["output"]["user_id"], "add": [e3]})
    await rig.undo(tenant, gone)
    return ids


OPERATIONS: dict[str, Callable[[Tenant, dict[str, str]], dict[str, Any]]] = {
    "user.ensure": lambda tenant, _: ensure(tenant, "grace"),
    RESTORED: lambda tenant, _: ensure(tenant, "alan", city="Basel"),
    "user.patch": lambda _, ids: {"user_id": ids["ada"], "attributes": {"city": "Basel"}},
    "user.set-manager": lambda _, ids: {"user": ids["ada"], "manager": ids["boss"]},
    "group.add-member": lambda tenant, ids: {"group_id": group_id(tenant), "user_id": ids["ada"]},
    "licence.assign": lambda tenant, ids: {
        "user_id": ids["ada"],
        "add": [{"skuId": sku_id(tenant, "SPE_E5"), "disabledPlans": []}],
        "remove": [sku_id(tenant, "SPE_E3")],
    },
}


async def redelivered(rig: Rig, order: dict[str, Any]) -> dict[str, Any]:
    """Sends until it was taken, as Kafka does."""
    for _ in range(5):
        with contextlib.suppress(MeshError):
            await rig.send(order)
            break
    return await rig.reply(order["operation_id"])


async def run(rig: Rig, tenant: Tenant, operation: str, params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The operation, then what it left, then its undo."""
    reply = await redelivered(rig, rig.order(tenant, operation.split(maxsplit=1)[0], params))
    after = state(tenant)
    if reply["undo"] is not None:
        undo = rig.order(tenant, reply["undo"]["operation"], reply["undo"]["params"])
        undone = await redelivered(rig, undo)
        assert undone["outcome"] == "succeeded", undone
    return plain(reply), after


@pytest.mark.timeout(240)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_end_state_equals_the_undisturbed_run(idle_rig: Rig, tenant: Tenant, operation: str) -> None:
    rig = idle_rig
    rig.lease_seconds = 1.0
    await rig.activate(tenant)
    async with rig.working():
        ids = await prepare(rig, tenant)
        params = OPERATIONS[operation](tenant, ids)
        before = state(tenant)
        with faults.recording() as points:
            expected = await run(rig, tenant, operation, params)
        assert state(tenant) == before
        # What idle workers do all the time would only be hit by chance; it has its own test below.
        wanted = sorted({point for point in points if not point.startswith("db.")})
        assert {"graph.leased", "graph.answered", "graph.before_settle", "outbox.after_append"} <= set(wanted)
        for point in wanted:
            for hit in range(1, min(points.count(point), HIT_COUNT_MAX) + 1):
                with faults.inject(point, hit, "error"):
                    found = await run(rig, tenant, operation, params)
                assert found == expected, (point, hit)
                assert state(tenant) == before, (point, hit)


@pytest.mark.parametrize("point", ["db.before_commit", "db.after_commit"])
async def test_every_commit_may_fail(idle_rig: Rig, tenant: Tenant, point: str) -> None:
    rig = idle_rig
    rig.lease_seconds = 1.0
    await rig.activate(tenant)
    async with rig.working():
        params = ensure(tenant, "grace")
        expected = await run(rig, tenant, "user.ensure", params)
        for hit in range(1, 9):
            with faults.inject(point, hit, "error"):
                assert await run(rig, tenant, "user.ensure", params) == expected, hit
            assert state(tenant)["users"] == {}


async def test_replies_are_sent_once_although_everything_fails_once(idle_rig: Rig, tenant: Tenant) -> None:
    rig = idle_rig
    rig.lease_seconds = 1.0
    await rig.activate(tenant)
    async with rig.db.transaction() as tx:
        await drain_outbox(tx)
    orders = [rig.order(tenant, "user.ensure", ensure(tenant, f"user{number:02}")) for number in range(60)]
    with contextlib.ExitStack() as armed:
        for point in ("graph.leased", "graph.before_send", "graph.answered", "graph.before_settle", "graph.settled"):
            armed.enter_context(faults.inject(point, 1, "error"))
        async with rig.working(2):
            await rig.send(*orders)
            replies = await rig.replies(orders)
    assert {reply["outcome"] for reply in replies} == {"succeeded"}
    assert all(reply["output"]["created"] for reply in replies)
    assert len(tenant.state("users")) == 60
    async with rig.db.transaction() as tx:
        assert len(await drain_outbox(tx)) == 60
