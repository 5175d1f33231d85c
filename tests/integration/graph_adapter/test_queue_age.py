"""How long work waits for a worker: the measure by which workers are added."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from graph_adapter.adapters.observer import MeshObserver
from graph_adapter.application.accept_operations import Desk
from graph_adapter.application.measure_queue import measure_queue
from graph_adapter.domain.tray import Tray
from mesh_runtime.clock import ManualClock
from support.graph_rig import Rig
from support.simulated import Tenant
from support.waiting import eventually

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def empty(idle_rig: Rig) -> None:
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("TRUNCATE operation, tenant"))


async def queued(rig: Rig, tenant: Tenant, waited_seconds: float, *, lane: int = 1, due_seconds: float = -1e6) -> str:
    """An operation in the queue since then, due from then on."""
    sent = rig.order(tenant, "tenant.probe", {}, target=f"{lane}-{waited_seconds}")
    await rig.send(sent)
    async with rig.db.transaction() as tx:
        await tx.execute(
            text("UPDATE operation SET received_at = :at, not_before = :due, lane = :lane WHERE operation_id = :id"),
            {
                "at": NOW - timedelta(seconds=waited_seconds),
                "due": NOW + timedelta(seconds=due_seconds),
                "lane": lane,
                "id": sent["operation_id"],
            },
        )
    return str(sent["operation_id"])


async def pause(rig: Rig, tenant: Tenant, seconds: float) -> None:
    async with rig.db.transaction() as tx:
        await tx.execute(
            text("INSERT INTO tenant (tenant_id, not_before) VALUES (:id, :until)"),
            {"id": tenant.tenant_id, "until": NOW + timedelta(seconds=seconds)},
        )


async def measured(rig: Rig, tray: Tray | None = None) -> float | None:
    await measure_queue(rig.store, tray or Tray(uuid.uuid4(), 0), MeshObserver(), ManualClock(NOW))
    return REGISTRY.get_sample_value("ucmesh_graph_queue_age_seconds")


async def test_an_empty_queue_has_no_age(idle_rig: Rig) -> None:
    MeshObserver().queue_age(99)
    assert await measured(idle_rig) == 0


async def test_what_waits_in_the_tray_counts_too(idle_rig: Rig, tenant: Tenant) -> None:
    tray = Tray(uuid.uuid4(), 10)
    tray.is_open = True
    idle_rig.desk = Desk(tray, idle_rig.limits, 60)
    await idle_rig.send(idle_rig.order(tenant, "tenant.probe", {}))
    idle_rig.desk = None
    (row,) = await idle_rig.rows("SELECT started_at FROM operation")
    later = ManualClock(row.started_at + timedelta(seconds=70))
    await measure_queue(idle_rig.store, tray, MeshObserver(), later)
    assert REGISTRY.get_sample_value("ucmesh_graph_queue_age_seconds") == 70
    tray.pause(tenant.tenant_id, later.now() + timedelta(seconds=1))
    await measure_queue(idle_rig.store, tray, MeshObserver(), later)
    assert REGISTRY.get_sample_value("ucmesh_graph_queue_age_seconds") == 0


async def test_the_oldest_of_any_lane_counts(idle_rig: Rig, tenant: Tenant) -> None:
    await queued(idle_rig, tenant, 10, lane=0)
    await queued(idle_rig, tenant, 70, lane=2)
    await queued(idle_rig, tenant, 40, lane=1)
    assert await measured(idle_rig) == 70


async def test_what_is_not_due_or_taken_does_not_count(idle_rig: Rig, tenant: Tenant) -> None:
    await queued(idle_rig, tenant, 90, due_seconds=5)
    taken = await queued(idle_rig, tenant, 80)
    await queued(idle_rig, tenant, 60, due_seconds=-20)
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("UPDATE operation SET state = 'leased' WHERE operation_id = :id"), {"id": taken})
    assert await measured(idle_rig) == 20


async def test_a_throttled_tenant_does_not_count_until_its_pause_is_over(idle_rig: Rig, tenant: Tenant) -> None:
    await queued(idle_rig, tenant, 90)
    await pause(idle_rig, tenant, 5)
    assert await measured(idle_rig) == 0
    async with idle_rig.db.transaction() as tx:
        await tx.execute(text("UPDATE tenant SET not_before = :at"), {"at": NOW - timedelta(seconds=3)})
    assert await measured(idle_rig) == 3


async def test_a_worker_measures_as_it_works(rig: Rig) -> None:
    MeshObserver().queue_age(99)
    await eventually(lambda: REGISTRY.get_sample_value("ucmesh_graph_queue_age_seconds") == 0)
