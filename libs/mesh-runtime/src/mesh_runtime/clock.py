"""Time and identity as ports, so decisions can be tested without waiting and without luck.

Owns the only calls to the system clock and the id generator. Refuses naive datetimes.
"""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol

from uuid_utils.compat import uuid7


class Clock(Protocol):
    """`now()` is an aware UTC datetime for facts; `monotonic()` is seconds for measuring durations."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


class IdGenerator(Protocol):
    """Source of unique ids."""

    def new(self) -> uuid.UUID: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when a test says so."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both readings forward; time never runs backwards."""
        if seconds < 0:
            raise ValueError("a clock cannot be moved backwards")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class Uuid7Ids:
    """UUID version 7 (RFC 9562): sortable by creation time, so indexes stay dense."""

    def new(self) -> uuid.UUID:
        return uuid7()


class SequentialIds:
    """Predictable ids for tests: the seed in the high bits, a counter from 1 in the low ones; sorted by creation."""

    def __init__(self, seed: int = 0) -> None:
        if not 0 <= seed < 2**48:
            raise ValueError("seed must fit in 48 bits")
        self._seed = seed
        self._count = 0
        self._lock = threading.Lock()

    def new(self) -> uuid.UUID:
        with self._lock:
            self._count += 1
            return uuid.UUID(int=(self._seed << 80) | self._count, version=4)
