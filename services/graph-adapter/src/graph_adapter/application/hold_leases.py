"""A worker that lives holds on to what it works at or has in its tray, however slowly Microsoft answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from graph_adapter.application.lease_operations import TenantWork
from graph_adapter.domain.ports import Store
from graph_adapter.domain.tray import Tray
from mesh_runtime.clock import Clock


async def hold_leases(
    store: Store, works: Sequence[TenantWork], tray: Tray, lease_seconds: float, clock: Clock
) -> None:
    """Moves the end of the leases; those that ran out and were recovered meanwhile stay lost."""
    operation_ids = [*tray.operation_ids, *(key for work in works for key in work.operation_ids)]
    if not operation_ids:
        return
    now, lease = clock.now(), timedelta(seconds=lease_seconds)
    lease_ids = [tray.lease_id, *(work.lease_id for work in works)]
    async with store.transaction() as unit:
        extended = await unit.operations.extend(operation_ids, lease_ids, now + lease * 3 / 4, now + lease)
    tray.extended(extended, now + lease)
