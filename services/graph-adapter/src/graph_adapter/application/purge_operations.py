"""Finished operations are kept for a while, because a repeated command gets its stored reply; then they are
forgotten.
"""

from __future__ import annotations

from datetime import timedelta

from graph_adapter.domain.ports import Store
from mesh_runtime.clock import Clock

COUNT_MAX = 5_000


async def purge_operations(store: Store, keep: timedelta, clock: Clock) -> int:
    """Forgets at most COUNT_MAX operations that finished before `keep` ago; answers how many."""
    async with store.transaction() as unit:
        return await unit.operations.purge(clock.now() - keep, COUNT_MAX)
