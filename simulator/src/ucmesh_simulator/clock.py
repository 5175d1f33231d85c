"""The simulator's time. Owns two dials over the wall clock: the world (replication, provisioning, throttling windows)
and identity (token and certificate validity); refuses to run backwards.

They are apart on purpose: moving the world by a day to let a mailbox appear must not expire the caller's client
assertion, whose times come from the caller's own wall clock."""

import time
from datetime import UTC, datetime


class SimClock:
    """Seconds since the epoch as floats; `frozen_at` stops both dials until they are advanced by hand."""

    def __init__(self, *, frozen_at: float | None = None) -> None:
        self._frozen_at = frozen_at
        self._world_ahead_seconds = 0.0
        self._identity_ahead_seconds = 0.0

    def now(self) -> float:
        """World time."""
        base = self._frozen_at if self._frozen_at is not None else time.time()
        return base + self._world_ahead_seconds

    def identity_now(self) -> float:
        """Time used for token lifetimes, client assertions and certificate validity."""
        base = self._frozen_at if self._frozen_at is not None else time.time()
        return base + self._identity_ahead_seconds

    def advance(self, seconds: float, *, identity_seconds: float = 0.0) -> None:
        """Moves the dials forward; raises ValueError for a negative amount."""
        if seconds < 0 or identity_seconds < 0:
            raise ValueError("the clock only runs forward")
        self._world_ahead_seconds += seconds
        self._identity_ahead_seconds += identity_seconds

    def freeze(self) -> None:
        """Stops the wall clock at this moment (the dials still move by `advance`)."""
        if self._frozen_at is None:
            self._frozen_at = time.time()

    def thaw(self) -> None:
        """Lets time run again; no dial jumps back, a frozen clock that lags simply continues from the real time."""
        self._frozen_at = None


def iso(at: float) -> str:
    """Graph's DateTimeOffset, e.g. `2026-08-04T22:58:23Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; ValueError when it is none."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
