"""The worker role: leases operations, runs them tenant by tenant, and keeps house.

Owns the rhythm: woken by a notification, by the end of a run, or by a short poll as the net. Refuses to let one
run's error touch another: what it held becomes recoverable, marked as interrupted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta

from graph_adapter.application.hold_leases import hold_leases
from graph_adapter.application.lease_operations import TenantWork, lease_operations
from graph_adapter.application.measure_queue import measure_queue
from graph_adapter.application.purge_operations import purge_operations
from graph_adapter.application.recover_operations import abandon_lease, give_back, recover_operations
from graph_adapter.application.run_operations import RunPorts, run_operations
from graph_adapter.domain.fairness import Limits
from graph_adapter.domain.tray import Tray
from mesh_runtime.clock import IdGenerator
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger

PURGE_SECONDS = 60.0
ERROR_PAUSE_SECONDS = 1.0
HOUSEKEEPING_SHARE = 4
GIVE_BACK_SECONDS_MAX = 10.0

_log = get_logger("graph_adapter.worker")

Listen = Callable[[Callable[[str], None]], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often what happens. Leases are extended, and lost ones recovered, several times within `lease_seconds`."""

    poll_seconds: float
    lease_seconds: float
    keep: timedelta


class OperationWorker:
    """One worker; run as many as you like per database. `listen` calls back when commands were queued; into `tray` the
    consumer of its process puts what it has leased for it.
    """

    def __init__(
        self,
        ports: RunPorts,
        limits: Limits,
        ids: IdGenerator,
        listen: Listen,
        rhythm: Rhythm,
        *,
        tray: Tray | None = None,
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._ids = ids
        self._listen = listen
        self._rhythm = rhythm
        self._runs: dict[asyncio.Task[None], TenantWork] = {}
        self._tray = tray or Tray(ids.new(), 0)
        self._wake = asyncio.Event()
        self._look = True
        self._last_served: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; then every run ends its round, puts back what it has not finished, and all is
        written down.
        """
        keeping = asyncio.create_task(self._keep_house(stop), name="graph-housekeeping")
        stopping = asyncio.create_task(self._wake_at(stop), name="graph-stop")
        try:
            async with self._listen(self._queued):
                self._tray.on_change = self._wake.set
                self._tray.is_open = True
                while not stop.is_set():
                    self._wake.clear()
                    if not await self._start_runs() and not await self._rest(self._rhythm.poll_seconds):
                        self._look = True
        finally:
            self._ports.stop.set()
            self._tray.is_open = False
            if self._runs:
                await asyncio.wait(self._runs)
            await self._give_back()
            for task in (keeping, stopping):
                task.cancel()
            await asyncio.gather(keeping, stopping, return_exceptions=True)

    async def _start_runs(self) -> bool:
        """Whether anything was leased."""
        running = Counter(work.tenant_id for work in self._runs.values())
        if sum(running.values()) >= self._limits.runs_max:
            return False
        look, self._look = self._look, False
        try:
            works = await lease_operations(
                self._ports.store,
                running,
                self._limits,
                lease_seconds=self._rhythm.lease_seconds,
                last_served=self._last_served,
                clock=self._ports.clock,
                ids=self._ids,
                tray=self._tray,
                look=look,
            )
        except MeshError as error:
            self._look = True
            _log.warning("worker.waiting", reason=error.message)
            await self._rest(ERROR_PAUSE_SECONDS)
            return False
        for work in works:
            task = asyncio.create_task(self._run(work), name=f"graph-run-{work.tenant_id}")
            self._runs[task] = work
            task.add_done_callback(self._ended)
            self._last_served = work.tenant_id
            # There may be more of it than a run takes.
            self._look = self._look or work.lease_id != self._tray.lease_id
        return bool(works)

    def _queued(self, _payload: str) -> None:
        self._look = True
        self._wake.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._runs.pop(task)
        self._look = True
        self._wake.set()

    async def _give_back(self) -> None:
        """What was never begun, also what an open transaction of the consumer still brings."""
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS_MAX):
                while self._tray.expected_count:
                    self._wake.clear()
                    await self._wake.wait()
                await give_back(self._ports.store, self._tray, self._ports.clock)
        except (MeshError, TimeoutError) as error:
            _log.warning("tray.left-to-recovery", reason=repr(error), count=len(self._tray.operation_ids))

    async def _run(self, work: TenantWork) -> None:
        try:
            await run_operations(work, self._ports)
        except Exception as error:
            # The edge of a run: whatever it was, the operations are recovered and tried again, within bounds.
            if isinstance(error, MeshError) and error.retryable:
                _log.warning("run.interrupted", tenant_id=work.tenant_id, reason=error.message)
            else:
                _log.exception("run.failed", tenant_id=work.tenant_id)
            with suppress(MeshError):
                await abandon_lease(self._ports.store, work, self._ports.clock)

    async def _keep_house(self, stop: asyncio.Event) -> None:
        purged_at = float("-inf")
        while not stop.is_set():
            try:
                works, seconds = list(self._runs.values()), self._rhythm.lease_seconds
                await hold_leases(self._ports.store, works, self._tray, seconds, self._ports.clock)
                recovered = await recover_operations(self._ports.store, self._ports.clock)
                if recovered:
                    _log.warning("operations.recovered", count=recovered)
                    self._queued("")
                await measure_queue(self._ports.store, self._tray, self._ports.observer, self._ports.clock)
                if self._ports.clock.monotonic() - purged_at >= PURGE_SECONDS:
                    await purge_operations(self._ports.store, self._rhythm.keep, self._ports.clock)
                    purged_at = self._ports.clock.monotonic()
            except MeshError as error:
                _log.warning("housekeeping.waiting", reason=error.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._rhythm.lease_seconds / HOUSEKEEPING_SHARE)

    async def _rest(self, seconds: float) -> bool:
        """Whether something woke us."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
            return True
        return False

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._ports.stop.set()
        self._wake.set()
