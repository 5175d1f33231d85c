"""The timer worker: sleeps until the next plan is due, is woken when something becomes due earlier.

Owns the sleeping. Every due time that is written sounds an alarm on the database's notification channel with the time
itself, so a worker asks the database only when something is due. The poll is a net for alarms lost with a connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause
from orchestrator.application.fire_timers import fire_timers
from orchestrator.application.plan_engine import PlanEngine

POLL_SECONDS = 0.5
BACKOFF_SECONDS = 1.0
BATCH_COUNT_MAX = 200

_log = get_logger("orchestrator.timers")


class PlanTimers:
    """`run` is the worker role's function. `channel` is the one the rows' adapter notifies."""

    def __init__(self, engine: PlanEngine, db: Database, *, channel: str, poll_seconds: float = POLL_SECONDS) -> None:
        self._engine = engine
        self._db = db
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._earliest: datetime | None = None
        self._woken = asyncio.Event()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Fire what is due until told to stop; a batch that is under way is finished."""
        ending = asyncio.create_task(self._wake_at(stop))
        try:
            async with self._db.raw_listen(self._channel, self._alarm):
                while not stop.is_set():
                    await self._sleep(await self._fire())
        finally:
            ending.cancel()
            with suppress(asyncio.CancelledError):
                await ending

    async def _fire(self) -> datetime:
        """Fire what is due; returns when to look again at the latest."""
        clock = self._engine.clock
        net = clock.now() + timedelta(seconds=self._poll_seconds)
        self._woken.clear()
        self._earliest = None
        try:
            fired = await fire_timers(self._engine, self._db, BATCH_COUNT_MAX)
        except MeshError as error:
            if not error.retryable:
                raise
            _log.warning("timers.unavailable", reason=str(error))
            return clock.now() + timedelta(seconds=BACKOFF_SECONDS)
        if fired.count >= BATCH_COUNT_MAX:
            return clock.now()
        return net if fired.next_due is None else min(net, fired.next_due)

    async def _sleep(self, until: datetime) -> None:
        """Until then, or until an alarm's time that is earlier."""
        while True:
            due = until if self._earliest is None else min(until, self._earliest)
            seconds = (due - self._engine.clock.now()).total_seconds()
            if seconds <= 0 or self._stopping:
                return
            self._woken.clear()
            await pause(self._woken, min(seconds, self._poll_seconds))

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping = True
        self._woken.set()

    def _alarm(self, payload: str) -> None:
        """A due time; without one (after a reconnect) look at once."""
        now = self._engine.clock.now()
        try:
            due = datetime.fromisoformat(payload) if payload else now
        except ValueError:
            due = now
        if self._earliest is None or due < self._earliest:
            self._earliest = due
            self._woken.set()
