"""Operations whose worker vanished go back into the queue, marked so that nobody repeats a write blindly."""

from __future__ import annotations

from graph_adapter.application.lease_operations import TenantWork
from graph_adapter.domain.ports import Store
from graph_adapter.domain.settlement import Settlement, unbegun
from graph_adapter.domain.tray import Tray
from mesh_runtime.clock import Clock


async def recover_operations(store: Store, clock: Clock) -> int:
    """Answers how many were recovered."""
    async with store.transaction() as unit:
        return await unit.operations.recover(clock.now())


async def abandon_lease(store: Store, work: TenantWork, clock: Clock) -> None:
    """A run ended in an error nobody expected: what it held becomes recoverable at once instead of after the lease."""
    async with store.transaction() as unit:
        await unit.operations.abandon(work.lease_id, work.operation_ids, clock.now())


async def give_back(store: Store, tray: Tray, clock: Clock) -> int:
    """What waits in the tray of a worker that stops goes into the queue as if never leased; answers how many."""
    now, count = clock.now(), 0
    for tenant_id, operations in tray.take_all(now).items():
        settlement = Settlement(tenant_id, tray.lease_id)
        settlement.parked = [unbegun(leased, now) for leased in operations]
        async with store.transaction() as unit:
            count += len(await unit.operations.settle(settlement, now))
    return count
