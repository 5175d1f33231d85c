"""One process, several roles: started together, stopped together, within a bounded time.

Owns signals, the event loop and the exit code. Refuses half-dead processes: when one role ends unasked, all end.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop

from mesh_runtime import faults, logs, telemetry
from mesh_runtime.settings import SettingsError

KNOWN_ROLES = ("api", "consumer", "relay", "worker")
CANCEL_SECONDS = 5.0

GC_THRESHOLDS = (200_000, 20, 50)
"""Batches make many short-lived objects and no cycles. Below the first number nothing is looked through, and a batch of
some hundred messages should stay below it: in its middle all of it is in use.
"""

EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_INTERRUPTED = 130

_log = logs.get_logger("mesh_runtime.roles")


@dataclass(frozen=True, slots=True)
class Role:
    """A part of a process. `run` works until the event is set, then finishes what it holds and returns."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]


class RoleFailed(Exception):  # noqa: N818
    """A role raised, or returned although nobody asked it to stop."""


def parse_roles(argv: Sequence[str], known: Sequence[str] = KNOWN_ROLES) -> list[str]:
    """The roles named on the command line, all of `known` when none is. Raises SettingsError for an unknown one."""
    unknown = [name for name in argv if name not in known]
    if unknown:
        raise SettingsError(f"unknown role {', '.join(unknown)}: use some of {', '.join(known)}")
    return [name for name in known if name in argv] if argv else list(known)


async def run_roles(roles: Sequence[Role], *, drain_seconds: float = 10, stop: asyncio.Event | None = None) -> None:
    """Runs all roles until SIGTERM or SIGINT (or `stop`), then gives them `drain_seconds` before cancelling.

    Raises RoleFailed, after stopping the others, when a role raises or ends unasked. A second signal cancels at once.
    """
    stop = stop if stop is not None else asyncio.Event()
    hurry = asyncio.Event()
    armed = faults.armed_names()
    if armed:
        _log.warning("faults.armed", names=armed)
    with _signals(stop, hurry):
        tasks = {asyncio.create_task(_run(role, stop), name=role.name): role for role in roles}
        _spare_the_collector()
        _log.info("roles.started", roles=[role.name for role in roles])
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            stopping.cancel()
            await _drain(list(tasks), drain_seconds, hurry)
    failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    first = next((failure for failure in failures if failure is not None), None)
    if first is not None:
        raise first
    _log.info("roles.stopped")


def _spare_the_collector() -> None:
    """What was loaded until now stays for good: it is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def main(run: Callable[[], Coroutine[Any, Any, int | None]]) -> int:
    """Runs the coroutine on uvloop and returns the exit code: 0, 1 failed, 2 settings, 130 interrupted.

    `sys.exit(roles.main(run))` is a whole `__main__`.
    """
    if not structlog.is_configured():
        logs.configure("ucmesh")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run()) or 0
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SETTINGS
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except RoleFailed as error:
        _log.critical("process.failed", reason=str(error))
        return EXIT_FAILED
    except Exception:
        _log.exception("process.failed")
        return EXIT_FAILED
    finally:
        telemetry.shutdown()


async def pause(event: asyncio.Event, seconds: float) -> bool:
    """Waits for the event (a role's `stop`, or what wakes it), `seconds` at most; returns whether it came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _run(role: Role, stop: asyncio.Event) -> None:
    try:
        await role.run(stop)
    except Exception as error:
        _log.exception("role.failed", role=role.name)
        raise RoleFailed(f"role {role.name} failed: {type(error).__name__}: {error}") from error
    if not stop.is_set():
        _log.error("role.ended", role=role.name)
        raise RoleFailed(f"role {role.name} ended although nobody asked it to stop")
    _log.info("role.stopped", role=role.name)


async def _drain(tasks: list[asyncio.Task[None]], drain_seconds: float, hurry: asyncio.Event) -> None:
    hurried: asyncio.Future[Any] = asyncio.create_task(hurry.wait())
    everything: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait([everything, hurried], timeout=drain_seconds, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    late = [task for task in tasks if not task.done()]
    if late:
        _log.warning("roles.cancelled", roles=[task.get_name() for task in late])
        for task in late:
            task.cancel()
        await asyncio.wait(late, timeout=CANCEL_SECONDS)


@contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    installed = []
    # Only the main thread may handle signals; a loop elsewhere (tests) is stopped through the event.
    with suppress(ValueError, RuntimeError, NotImplementedError):
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ask)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
