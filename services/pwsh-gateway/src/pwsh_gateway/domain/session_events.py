"""What happens to a session and what its shell must do about it: the events and actions of the state machine.

Owns plain values only. Refuses decisions: those are in `session`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pwsh_gateway.domain.protocol import Answer, CmdletError

State = Literal["starting", "connecting", "idle", "busy", "draining", "dead"]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds of one session; taken when it starts."""

    connect_seconds_max: float = 120
    idle_seconds_max: float = 900
    age_seconds_max: float = 3300
    executions_max: int = 500
    memory_soft_bytes: int = 700 * 1024**2
    memory_hard_bytes: int = 1200 * 1024**2
    hang_grace_seconds: float = 10
    exit_grace_seconds: float = 5


@dataclass(frozen=True, slots=True)
class Opened:
    """The process runs and its pipes are open."""


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame arrived on stdout."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A visit takes the session."""


@dataclass(frozen=True, slots=True)
class Released:
    """The visit is over."""


@dataclass(frozen=True, slots=True)
class Invoked:
    """The visit wants one cmdlet run. `message` is the request without its id and timeout."""

    request_id: str
    message: Mapping[str, Any]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class DrainWished:
    """Finish what runs, take nothing new, end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Terminated:
    """End now; what runs is lost."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """stdout is at its end or the process is gone."""


@dataclass(frozen=True, slots=True)
class MemorySampled:
    """Resident memory of the process group."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""


Event = (
    Opened
    | FrameSeen
    | Reserved
    | Released
    | Invoked
    | DrainWished
    | Terminated
    | ProcessEnded
    | MemorySampled
    | Ticked
)


@dataclass(frozen=True, slots=True)
class Send:
    """Write this request to stdin."""

    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the process group."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The session can be reserved (again)."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The request in flight has its answer."""

    request_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is dead. `error` tells why a connection never came about."""

    reason: str
    error: CmdletError | None = None


Action = Send | Kill | Ready | Answered | Ended
