"""How long work waits for a worker: what says whether there are enough of them."""

from __future__ import annotations

from graph_adapter.domain.ports import Observer, Store
from mesh_runtime.clock import Clock


async def measure_queue(store: Store, observer: Observer, clock: Clock) -> None:
    """Records the longest wait of an operation that could run."""
    async with store.read() as unit:
        observer.queue_age(await unit.operations.longest_wait_seconds(clock.now()))
