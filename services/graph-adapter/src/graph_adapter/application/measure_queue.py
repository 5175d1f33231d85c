"""How long work waits for a worker: what says whether there are enough of them."""

from __future__ import annotations

from graph_adapter.domain.ports import Observer, Store
from graph_adapter.domain.tray import Tray
from mesh_runtime.clock import Clock


async def measure_queue(store: Store, tray: Tray, observer: Observer, clock: Clock) -> None:
    """Records the longest wait of an operation that could run, in the queue or in this process's tray."""
    now = clock.now()
    async with store.read() as unit:
        queued_seconds = await unit.operations.longest_wait_seconds(now)
    observer.queue_age(max(queued_seconds, tray.longest_wait_seconds(now)))
