"""Starting while the database is not there yet: the API says that it is not ready, everything else waits.

Owns the waiting, for a bounded time. Refuses other failures: a migration that is wrong ends the process at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from mesh_runtime.database_clock import DatabaseClock
from mesh_runtime.errors import Unavailable
from mesh_runtime.health import Health
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import Role, pause

BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 3.0

_log = get_logger("mesh_runtime.startup")


def after(
    prepare: Callable[[], Awaitable[None]],
    roles: Sequence[Role],
    health: Health,
    *,
    seconds_max: float,
    clock: DatabaseClock | None = None,
) -> list[Role]:
    """The roles, all but the API held back until `prepare` (migrations) is done and `clock` has been read, and one that
    carries it out and keeps the clock. A drain ends them.

    `prepare` is repeated while it raises Unavailable, for `seconds_max` at most; until then `health` is not started.
    """
    prepared = asyncio.Event()
    health.starting()

    async def begin() -> None:
        await prepare()
        if clock is not None:
            await clock.look()

    async def start(stop: asyncio.Event) -> None:
        if await _patiently(begin, stop, seconds_max):
            health.started()
            prepared.set()
            await (clock.run(stop) if clock is not None else stop.wait())

    held = (role if role.name == "api" else _held(role, prepared) for role in roles)
    return health.drain.watch([Role("startup", start), *held])


async def _patiently(prepare: Callable[[], Awaitable[None]], stop: asyncio.Event, seconds_max: float) -> bool:
    """False when asked to stop before it was done."""
    deadline = time.monotonic() + seconds_max
    backoff_seconds = BACKOFF_FIRST_SECONDS
    while not stop.is_set():
        try:
            await prepare()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("startup.waiting", reason=error.message, code=error.code, backoff_seconds=backoff_seconds)
            await pause(stop, backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, BACKOFF_MAX_SECONDS)
        else:
            return True
    return False


def _held(role: Role, prepared: asyncio.Event) -> Role:
    async def run(stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (prepared, stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not stop.is_set():
            await role.run(stop)

    return Role(role.name, run)
