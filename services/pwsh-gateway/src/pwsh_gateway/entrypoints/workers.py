"""The worker role: looks for visits, serves them side by side, keeps leases and sessions in order.

Owns the loops and their pace. Refuses decisions: those are in the use cases.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from mesh_runtime.clock import Clock
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from pwsh_gateway.application import ForgetOld, KeepLeases, LeaseVisits, ServeVisit, WriteJournal
from pwsh_gateway.application.visit_report import VisitReport, interrupted
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.seats import Seats
from pwsh_gateway.domain.visits import Visit

POLL_SECONDS = 0.5
TICK_SECONDS = 0.5
MEMORY_SECONDS = 5
HOUSE_SECONDS = 600
FINISH_ATTEMPTS_MAX = 12
FINISH_BACKOFF_SECONDS = 0.2
FINISH_BACKOFF_SECONDS_MAX = 5
INTERRUPTED_WAIT_SECONDS = 5

_log = get_logger("pwsh_gateway.worker")


class Sessions(Protocol):
    """What the worker does with the pool as a whole."""

    def tick(self) -> None: ...

    def pids(self) -> list[int]: ...

    def sampled(self, memory_bytes: Mapping[int, int]) -> None: ...

    async def close(self) -> None: ...


Listen = Callable[[Callable[[str], None]], AbstractAsyncContextManager[None]]


@dataclass(slots=True)
class Held:
    """Operations this replica works on, and those whose lease it lost meanwhile."""

    running: set[uuid.UUID] = field(default_factory=set)
    lost: set[uuid.UUID] = field(default_factory=set)

    def is_held(self, operation_id: uuid.UUID) -> bool:
        """Whether it may still be worked on."""
        return operation_id not in self.lost

    def begin(self, visit: Visit) -> None:
        self.running.update(operation.operation_id for operation in visit.operations)

    def end(self, visit: Visit) -> None:
        ids = {operation.operation_id for operation in visit.operations}
        self.running -= ids
        self.lost -= ids


@dataclass(slots=True)
class Worker:
    """The parts of the role; `run` is its body. `refresh` loads settings, rules, credentials and requests to end."""

    lease: LeaseVisits
    serve: ServeVisit
    finish: Callable[[VisitReport], Awaitable[None]]
    keep_leases: KeepLeases
    write_journal: WriteJournal
    forget: ForgetOld
    sessions: Sessions
    seats: Seats
    held: Held
    config: Callable[[], GatewayConfig]
    refresh: Callable[[], Awaitable[None]]
    on_work: Listen
    on_control: Listen
    sample_memory: Callable[[Sequence[int]], Mapping[int, int]]
    clock: Clock
    observe: Callable[[VisitReport], None]
    measure: Callable[[], Awaitable[None]]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _control: asyncio.Event = field(default_factory=asyncio.Event)
    _visits: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then running visits are finished and sessions ended."""
        if not await self._begin(stop):
            return
        try:
            async with (
                self.on_work(lambda _: self._wake.set()),
                self.on_control(lambda _: self._control.set()),
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(self._dispatch(stop), name="dispatch")
                tasks.create_task(self._keep(stop), name="keep")
                tasks.create_task(self._govern(stop), name="govern")
                tasks.create_task(self._house(stop), name="house")
        except BaseException:
            # No time to finish: leases run out, and what was written is read back by whoever comes next.
            for visit in self._visits:
                visit.cancel()
            raise
        finally:
            await self._end()

    async def _begin(self, stop: asyncio.Event) -> bool:
        """Load what is needed to work; a database that is away is waited for. False when stopped before that."""
        while not stop.is_set():
            try:
                await self.refresh()
            except MeshError as error:
                _log.warning("worker.waiting", reason=repr(error))
                await _first(stop, seconds=POLL_SECONDS)
            else:
                return True
        return False

    async def _dispatch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            try:
                visits = await self.lease(self.config())
            except MeshError as error:
                _log.warning("worker.lease_failed", reason=repr(error))
                visits = []
            for visit in visits:
                self.held.begin(visit)
                task = asyncio.create_task(self._visit(visit), name=f"visit-{visit.target}")
                self._visits.add(task)
                task.add_done_callback(self._visits.discard)
            if not visits:
                await _first(stop, self._wake, seconds=POLL_SECONDS)

    async def _visit(self, visit: Visit) -> None:
        try:
            try:
                report = await self.serve(visit)
            except Exception:  # the visit ends here, its operations do not
                _log.exception("visit.failed", tenant_id=visit.stream.tenant_id, target=visit.target)
                report = interrupted(visit, self.clock.now(), INTERRUPTED_WAIT_SECONDS)
            if report.pause_seconds:
                self.seats.pause(visit.stream, self.clock.monotonic() + report.pause_seconds)
            await self._finish(report)
            self.observe(report)
        finally:
            self.seats.leave(visit)
            self.held.end(visit)
            self._wake.set()

    async def _finish(self, report: VisitReport) -> None:
        for attempt in range(1, FINISH_ATTEMPTS_MAX + 1):
            try:
                await self.finish(report)
                return
            except MeshError as error:
                _log.warning("visit.finish_failed", attempt=attempt, reason=repr(error))
                if attempt < FINISH_ATTEMPTS_MAX:
                    await asyncio.sleep(min(FINISH_BACKOFF_SECONDS * 2**attempt, FINISH_BACKOFF_SECONDS_MAX))
        # The leases run out and somebody does the operations again; they look before they act.
        _log.error("visit.not_written", target=report.visit.target)

    async def _keep(self, stop: asyncio.Event) -> None:
        interval = self.keep_leases.lease_seconds / 3
        while not stop.is_set():
            await self._renew()
            await _first(stop, seconds=interval)

    async def _renew(self) -> None:
        running = set(self.held.running)
        try:
            held = await self.keep_leases(running)
            self.held.lost |= (running & self.held.running) - held
            await self.measure()
        except MeshError as error:
            _log.warning("worker.leases_not_kept", reason=repr(error))

    async def _govern(self, stop: asyncio.Event) -> None:
        sampled_at = float("-inf")
        while not stop.is_set():
            self.sessions.tick()
            if self.clock.monotonic() - sampled_at >= MEMORY_SECONDS:
                sampled_at = self.clock.monotonic()
                pids = self.sessions.pids()
                if pids:
                    self.sessions.sampled(await asyncio.to_thread(self.sample_memory, pids))
            await self._write_sessions()
            await _first(stop, self._control, seconds=TICK_SECONDS)

    async def _write_sessions(self) -> None:
        changed = self._control.is_set()
        self._control.clear()
        try:
            if changed:
                await self.refresh()
                self._wake.set()
            await self.write_journal()
        except MeshError as error:
            _log.warning("worker.sessions_not_written", reason=repr(error))
            if changed:
                self._control.set()

    async def _house(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await _first(stop, seconds=HOUSE_SECONDS)
            if stop.is_set():
                return
            try:
                await self.forget(self.config())
            except MeshError as error:
                _log.warning("worker.house_failed", reason=repr(error))

    async def _end(self) -> None:
        if self._visits:
            await asyncio.wait(self._visits)
        await self.sessions.close()
        with contextlib.suppress(MeshError):
            await self.write_journal()


async def _first(*events: asyncio.Event, seconds: float) -> None:
    """Waits for any of the events, at most so long."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
