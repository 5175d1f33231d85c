"""Faults on demand: what a test asked to go wrong, and when. Owns matching and counting; carrying a fault out is the
face's job.

A fault names a face, a method and a path pattern (shell wildcards, `*` matches `/` too, case-insensitive) and strikes
at the n-th matching request (1-based) for `times` requests; `times` 0 means until it is removed. Before-faults keep the
request from being done; the others strike after the write is in the tenant."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

ACTIONS = ("status", "drop", "drop-after", "status-after", "delay", "powershell-error")
FACES = ("login", "graph", "powershell", "*")
STATUSES = range(400, 600)
FAULTS_MAX = 200
# What a description may hold, by name of the Fault's field.
DESCRIBED = (
    "action", "face", "method", "path", "nth", "times", "status", "code", "retry_after_seconds", "delay_seconds",
    "error",
)  # fmt: skip


class FaultError(ValueError):
    """The fault description makes no sense; the text says why."""


@dataclass(slots=True)
class Fault:
    """`action`:
    - "status": answer `status` (with Retry-After when `retry_after_seconds` is set), nothing is done
    - "drop": close the connection, nothing is done
    - "status-after": do it, then answer `status`
    - "drop-after": do it, wait `delay_seconds`, close the connection: the timeout after the write
    - "delay": do it, answer `delay_seconds` later
    - "powershell-error": answer the cmdlet with `error` (message, exception_type, fqid, category, …), nothing is done
    """

    id: str
    action: str
    face: str = "graph"
    method: str = "*"
    path: str = "*"
    nth: int = 1
    times: int = 1
    status: int = 503
    code: str | None = None
    retry_after_seconds: float | None = None
    delay_seconds: float = 0.0
    error: Mapping[str, object] | None = None
    seen: int = 0
    struck: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = re.compile(fnmatch.translate(self.path), re.IGNORECASE)

    def strikes(self, face: str, method: str, path: str) -> bool:
        if self.face not in {"*", face} or self.method not in {"*", method} or not self._pattern.match(path):
            return False
        if self.times and self.struck >= self.times:
            return False
        self.seen += 1
        if self.seen < self.nth:
            return False
        self.struck += 1
        return True

    def as_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("id", *DESCRIBED, "seen", "struck")}


class FaultPlan:
    """The faults of one tenant, first match wins."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._made = 0

    def add(self, description: Mapping[str, object]) -> Fault:
        """Raises FaultError when the description is wrong."""
        if len(self._faults) >= FAULTS_MAX:
            raise FaultError(f"at most {FAULTS_MAX} faults at a time; remove some")
        self._made += 1
        fault = _parse(f"fault-{self._made}", description)
        self._faults.append(fault)
        return fault

    def clear(self, fault_id: str | None = None) -> int:
        kept = [] if fault_id is None else [fault for fault in self._faults if fault.id != fault_id]
        removed = len(self._faults) - len(kept)
        self._faults = kept
        return removed

    def strike(self, face: str, method: str, path: str) -> Fault | None:
        """The fault that hits this request, already counted; nothing to do when none is planned."""
        if not self._faults:
            return None
        hit: Fault | None = None
        for fault in self._faults:
            if hit is None and fault.strikes(face, method, path):
                hit = fault
        return hit

    def all(self) -> list[Fault]:
        return list(self._faults)


def _parse(fault_id: str, description: Mapping[str, object]) -> Fault:
    unknown = sorted(set(description) - set(DESCRIBED))
    if unknown:
        raise FaultError(f"unknown field {', '.join(unknown)}; known: {', '.join(sorted(DESCRIBED))}")
    action = description.get("action")
    if action not in ACTIONS:
        raise FaultError(f"action is one of {', '.join(ACTIONS)}, not {action!r}")
    face = str(description.get("face", "powershell" if action == "powershell-error" else "graph"))
    if face not in FACES:
        raise FaultError(f"face is one of {', '.join(FACES)}, not {face!r}")
    error = description.get("error")
    if action == "powershell-error" and not isinstance(error, Mapping):
        raise FaultError("powershell-error needs an error object")
    status = _number(description, "status", 503)
    if status not in STATUSES:
        raise FaultError(f"status is an HTTP error status, not {status!r}")
    retry_after = description.get("retry_after_seconds")
    return Fault(
        id=fault_id,
        action=str(action),
        face=face,
        method=str(description.get("method", "*")).upper(),
        path=str(description.get("path", "*")),
        nth=max(1, _number(description, "nth", 1)),
        times=_number(description, "times", 1),
        status=status,
        code=str(description["code"]) if description.get("code") else None,
        retry_after_seconds=float(retry_after) if isinstance(retry_after, int | float) else None,
        delay_seconds=float(_number(description, "delay_seconds", 0, real=True)),
        error=error if isinstance(error, Mapping) else None,
    )


def _number(description: Mapping[str, object], name: str, default: int, *, real: bool = False) -> int:
    value = description.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (not real and value != int(value)):
        raise FaultError(f"{name} is a number of at least 0, not {value!r}")
    return value if real else int(value)  # type: ignore[return-value]
