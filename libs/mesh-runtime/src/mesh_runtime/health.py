"""Liveness, readiness and startup of one process.

Owns running the checks within bounds. Refuses to tell the open endpoints more than which part is not well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from mesh_runtime.draining import Drain
from mesh_runtime.logs import get_logger

CHECK_TIMEOUT_SECONDS = 2.0
REMEMBERED_SECONDS = 1.0

Check = Callable[[], Awaitable[None]]

_log = get_logger("mesh_runtime.health")


class Health:
    """Named checks; each raises when its part is not usable. Results are remembered for REMEMBERED_SECONDS."""

    def __init__(self, checks: Mapping[str, Check] | None = None) -> None:
        self._checks = dict(checks or {})
        self._started = False
        self._starting = False
        self._stopping = False
        self._lock = asyncio.Lock()
        self._result: dict[str, str] = {}
        self._checked = float("-inf")
        self.drain = Drain(self.stopping)

    def starting(self) -> None:
        """Marks start-up (migrations, first connections) as going on: until `started` the API serves health alone."""
        self._starting = True

    def started(self) -> None:
        """Marks start-up as finished."""
        self._started = True
        self._starting = False

    @property
    def is_starting(self) -> bool:
        """Whether `starting` was called and `started` was not."""
        return self._starting

    @property
    def is_started(self) -> bool:
        """Whether `started` was called."""
        return self._started

    def stopping(self) -> None:
        """Marks the end as begun: what answers still answers, and nobody should come any more."""
        self._stopping = True

    @property
    def is_stopping(self) -> bool:
        """Whether `stopping` was called."""
        return self._stopping

    async def ready(self) -> dict[str, str]:
        """Check name -> "ok" or "failed". The endpoint is open, so many callers share one run."""
        async with self._lock:
            if time.monotonic() - self._checked >= REMEMBERED_SECONDS:
                names = list(self._checks)
                outcomes = await asyncio.gather(*(self._run(name) for name in names))
                self._result = dict(zip(names, outcomes, strict=True))
                self._checked = time.monotonic()
            return dict(self._result)

    async def _run(self, name: str) -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await self._checks[name]()
        except Exception as error:  # a check may fail in any way; the verdict is the same
            _log.warning("health.check_failed", check=name, reason=f"{type(error).__name__}: {error}")
            return "failed"
        return "ok"
