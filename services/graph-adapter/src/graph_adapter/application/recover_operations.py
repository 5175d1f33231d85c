"""Operations whose worker vanished go back into the queue, marked so that nobody repeats a write blindly."""

from __future__ import annotations

from uuid import UUID

from graph_adapter.domain.ports import Store
from mesh_runtime.clock import Clock


async def recover_operations(store: Store, clock: Clock) -> int:
    """Answers how many were recovered."""
    async with store.transaction() as unit:
        return await unit.operations.recover(clock.now())


async def abandon_lease(store: Store, lease_id: UUID, clock: Clock) -> None:
    """A run ended in an error nobody expected: what it held becomes recoverable at once instead of after the lease."""
    async with store.transaction() as unit:
        await unit.operations.abandon(lease_id, clock.now())
