"""A worker that lives holds on to what it works at, however slowly Microsoft answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from graph_adapter.domain.ports import Store
from mesh_runtime.clock import Clock


async def hold_leases(store: Store, lease_ids: Sequence[UUID], lease_seconds: float, clock: Clock) -> None:
    """Moves the end of the leases; those that ran out and were recovered meanwhile stay lost."""
    if not lease_ids:
        return
    now, lease = clock.now(), timedelta(seconds=lease_seconds)
    async with store.transaction() as unit:
        await unit.operations.extend(lease_ids, now + lease * 3 / 4, now + lease)
