"""The clock that all replicas of a service share: PostgreSQL's, carried on between two looks at it.

Owns the present time of a service. Refuses the machine's wall clock, once the database's has been read: a lease or a
due time written by one replica is judged by another one, and by the database itself. The machine's monotonic clock
tells how much time has passed since the last look, so a wall clock that jumps changes nothing, and `now` costs no round
trip.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from prometheus_client import Gauge
from sqlalchemy import text

from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause

LOOK_SECONDS = 5.0
JUMP_SECONDS = 1.0
"""From here on a correction is worth a line in the log."""

_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")

MACHINE_AHEAD = Gauge(
    "ucmesh_clock_machine_ahead_seconds", "how far this machine's wall clock is ahead of the database's, -: behind"
)

_log = get_logger("mesh_runtime.clock")


class DatabaseClock:
    """A `Clock`. Until the first `look` it is the machine's; `run` keeps looking."""

    def __init__(self, db: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._monotonic = monotonic
        self._offset: float | None = None

    def now(self) -> datetime:
        if self._offset is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._offset + self._monotonic(), UTC)

    def monotonic(self) -> float:
        return self._monotonic()

    async def look(self) -> None:
        """Reads the database's clock. Raises Unavailable."""
        async with self._db.read() as tx:
            asked = self._monotonic()
            epoch = float((await tx.execute(_NOW)).scalar_one())
            answered = self._monotonic()
        former = self._offset
        self._offset = corrected(former, epoch - answered, epoch - asked)
        MACHINE_AHEAD.set(time.time() - self.now().timestamp())
        if former is not None and abs(self._offset - former) >= JUMP_SECONDS:
            _log.warning("clock.database-jumped", seconds=round(self._offset - former, 3))

    async def run(self, stop: asyncio.Event) -> None:
        """Looks again and again; while the database is away, the time goes on."""
        while not await pause(stop, LOOK_SECONDS):
            try:
                await self.look()
            except MeshError as error:
                _log.info("clock.not-read", reason=error.message)


def corrected(offset: float | None, least: float, most: float) -> float:
    """What the database's clock is ahead of the monotonic one: known to be from `least` to `most`, as the answer was on
    its way. What was believed before stays if it may be true, so that slow answers do not move the time.
    """
    if offset is None:
        return (least + most) / 2
    return min(max(offset, least), most)
