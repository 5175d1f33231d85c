"""Named points where a test (or an operator's drill) can make the process die, fail or stall.

Owns the registry of names and their counting. Refuses to cost anything when inactive: `fault_point` is then one
comparison.

A point is declared once, next to the code it guards:

    BEFORE_SEND = faults.declare("outbox.before_send", "rows are claimed, nothing was sent yet")
    ...
    fault_point(BEFORE_SEND)

Active through the environment, `UCMESH_FAULTS="name@N=kill|error|pause:SECONDS[,...]"` (the N-th hit, counted from
1), read at the first hit; or in-process through `inject`. `pause` blocks the whole process on purpose, like a stopped
machine.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from mesh_runtime.errors import Unavailable

ENVIRONMENT_VARIABLE = "UCMESH_FAULTS"
OBSERVED_COUNT_MAX = 100_000

_SPEC = re.compile(r"(?P<name>[A-Za-z0-9_.:-]+)@(?P<hit>[1-9][0-9]*)=(?P<action>.+)")
_PAUSE = re.compile(r"pause:(?P<seconds>[0-9]+(\.[0-9]+)?)")

Action = str | Callable[[], None]


class FaultInjected(Unavailable):
    """Raised by a fault point told to fail; retryable like any transient failure."""

    code = "fault-injected"


@dataclass(slots=True)
class _Armed:
    name: str
    hit: int
    run: Callable[[], None]
    hits: int = 0


@dataclass(slots=True)
class _State:
    armed: list[_Armed] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    recorders: int = 0


_declared: dict[str, str] = {}
_lock = threading.Lock()
_state = _State()
_environment_read = False
# True until the environment has been read, then only while something is armed or recorded.
_active = True


def declare(name: str, between: str) -> str:
    """Registers a fault point and returns its name. `between` says what the point sits between.

    Raises ValueError when two places claim the same name with different meanings.
    """
    if _declared.setdefault(name, between) != between:
        raise ValueError(f"fault point {name!r} is declared twice with different meanings")
    return name


def registry() -> Mapping[str, str]:
    """Every declared name and what it sits between."""
    return MappingProxyType(_declared)


def fault_point(name: str) -> None:
    """Does nothing, unless somebody armed this name. Raises FaultInjected for the action `error`."""
    if _active:
        _hit(name)


@contextmanager
def inject(name: str, n: int = 1, action: Action = "error") -> Iterator[None]:
    """Arms one fault for the block: at the n-th hit (counted from entering, from 1) of `name` does `action`.

    `action` is `kill`, `error`, `pause:SECONDS` or a callable. Hits of all points are recorded meanwhile, see
    `observed`.
    """
    if n < 1:
        raise ValueError("hits are counted from 1")
    armed = _Armed(name, n, action if callable(action) else _parse_action(action, name))
    with recording():
        with _lock:
            _state.armed.append(armed)
        try:
            yield
        finally:
            with _lock:
                _state.armed.remove(armed)


@contextmanager
def recording() -> Iterator[list[str]]:
    """Records the names of all hits for the block; the outermost block starts with an empty list."""
    _read_environment()
    with _lock:
        if _state.recorders == 0:
            _state.observed = []
        _state.recorders += 1
        _refresh()
    try:
        yield _state.observed
    finally:
        with _lock:
            _state.recorders -= 1
            _refresh()


def observed() -> list[str]:
    """Names hit, in order, during the current or latest `inject`/`recording` block."""
    with _lock:
        return list(_state.observed)


def armed_names() -> list[str]:
    """Names armed now, from the environment or in-process; for the start-up warning of a process."""
    _read_environment()
    with _lock:
        return [armed.name for armed in _state.armed]


def parse(specification: str) -> list[tuple[str, int, str]]:
    """Reads `name@N=action[,...]` into (name, hit, action). Raises ValueError naming the broken part."""
    parts = [part.strip() for part in specification.split(",") if part.strip()]
    faults: list[tuple[str, int, str]] = []
    for part in parts:
        match = _SPEC.fullmatch(part)
        if match is None:
            raise ValueError(f"{ENVIRONMENT_VARIABLE}: {part!r} is not of the form name@N=kill|error|pause:SECONDS")
        _parse_action(match["action"], match["name"])
        faults.append((match["name"], int(match["hit"]), match["action"]))
    return faults


def _parse_action(action: str, name: str) -> Callable[[], None]:
    if action == "kill":
        return _kill
    if action == "error":
        return lambda: _fail(name)
    pause = _PAUSE.fullmatch(action)
    if pause is None:
        raise ValueError(f"unknown fault action {action!r}: use kill, error or pause:SECONDS")
    seconds = float(pause["seconds"])
    return lambda: time.sleep(seconds)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(name: str) -> None:
    raise FaultInjected(f"fault injected at {name}", detail={"fault_point": name})


def _hit(name: str) -> None:
    _read_environment()
    due: list[_Armed] = []
    with _lock:
        if _state.recorders and len(_state.observed) < OBSERVED_COUNT_MAX:
            _state.observed.append(name)
        for armed in _state.armed:
            if armed.name == name:
                armed.hits += 1
                if armed.hits == armed.hit:
                    due.append(armed)
    for armed in due:
        armed.run()


def _read_environment() -> None:
    global _environment_read
    if _environment_read:
        return
    with _lock:
        if _environment_read:
            return
        for name, hit, action in parse(os.environ.get(ENVIRONMENT_VARIABLE, "")):
            _state.armed.append(_Armed(name, hit, _parse_action(action, name)))
        _environment_read = True
        _refresh()


def _refresh() -> None:
    global _active
    _active = bool(_state.armed or _state.recorders)
