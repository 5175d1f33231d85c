"""The life of one PowerShell session as a state machine: events and a clock in, actions out. No process, no IO.

                 Opened              connected          Reserved
    starting ------------> connecting ---------> idle <==========> busy
        |                      |                  |     Released     |
        | limit, Terminated,   | refused,         | idle too long,   | wish to drain: finishes its
        | process ended        | wrong tenant     | too old, wish    | visit, then goes on below
        v                      v                  v                  v
      dead <------------------------------------ draining (told to exit; killed after a grace)

Owns every reason a session ends for. Refuses to be shared: it is bound for life to one tenant, one module and one
credential, serves one visit at a time and has at most one request in flight. A reply from another tenant kills it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pwsh_gateway.domain.protocol import TENANT_MISMATCH, TIMEOUT, CmdletError, Lost, Raised, Returned, answer_of
from pwsh_gateway.domain.session_events import (
    Action,
    Answered,
    DrainWished,
    Ended,
    Event,
    FrameSeen,
    Invoked,
    Kill,
    MemorySampled,
    Opened,
    ProcessEnded,
    Ready,
    Released,
    Reserved,
    Send,
    SessionLimits,
    State,
    Terminated,
    Ticked,
)


@dataclass(slots=True)
class _Flight:
    request_id: str
    sent_at: float
    hard_deadline: float


class Session:
    """One session. Feed it events through `handle(event, now)`; `now` is monotonic seconds."""

    def __init__(self, *, tenant_id: str, connect: Mapping[str, Any], limits: SessionLimits, now: float) -> None:
        """`connect` is the complete connect request with its id; it is forgotten once sent."""
        self.state: State = "starting"
        self.tenant_id = tenant_id
        self.executions = 0
        self.memory_bytes = 0
        self.reserved = False
        self.reason: str | None = None
        self.module_version: str | None = None
        self._connect: Mapping[str, Any] | None = connect
        self._connect_id = str(connect["id"])
        self._limits = limits
        self._started_at = now
        self._idle_since = now
        self._flight: _Flight | None = None
        self._exit_deadline: float | None = None

    def handle(self, event: Event, now: float) -> list[Action]:
        """Takes one event and gives what the shell must do, in order. A dead session answers with nothing."""
        if self.state == "dead":
            return self._refuse(event)
        match event:
            case Opened():
                return self._opened()
            case FrameSeen(body):
                return self._frame(body, now)
            case Reserved():
                return self._reserve()
            case Released():
                return self._release(now)
            case Invoked():
                return self._invoke(event, now)
            case DrainWished(reason):
                return self._drain(reason, now)
            case Terminated(reason):
                return self._die(reason, now)
            case ProcessEnded():
                return self._die(self.reason if self.state == "draining" and self.reason else "process-ended", now)
            case MemorySampled(size_bytes):
                return self._memory(size_bytes, now)
            case Ticked():
                return self._tick(now)

    def usable(self) -> bool:
        """Whether a visit may take it."""
        return self.state == "idle" and not self.reserved

    def idle_seconds(self, now: float) -> float:
        """How long nobody has used it; 0 when it is not idle."""
        return now - self._idle_since if self.usable() else 0.0

    def _refuse(self, event: Event) -> list[Action]:
        return [Answered(event.request_id, Lost(self.reason or "ended"))] if isinstance(event, Invoked) else []

    def _opened(self) -> list[Action]:
        message, self._connect = self._connect, None
        if self.state != "starting" or message is None:
            return []
        self.state = "connecting"
        return [Send(message)]

    def _frame(self, body: Mapping[str, Any], now: float) -> list[Action]:
        request_id = body.get("id")
        if self.state == "connecting" and request_id == self._connect_id:
            return self._connected(body, now)
        if self._flight is None or request_id != self._flight.request_id:
            return []  # An answer nobody waits for any more, or a forged one.
        flight, self._flight = self._flight, None
        self.executions += 1
        answer = answer_of(body)
        if self._is_foreign(body, answer):
            return [Answered(flight.request_id, _foreign(self.tenant_id, body)), *self._die("tenant-mismatch", now)]
        actions: list[Action] = [Answered(flight.request_id, answer)]
        if isinstance(answer, Raised) and answer.error.fqid == TIMEOUT:
            # The host stopped the pipeline, but a module that had to be stopped is not trusted with more work.
            actions += self._drain("timeout", now)
        return actions

    def _connected(self, body: Mapping[str, Any], now: float) -> list[Action]:
        answer = answer_of(body)
        if isinstance(answer, Raised):
            return self._die("connect-failed", now, answer.error)
        output = body.get("output")
        tenant = output.get("tenant_id") if isinstance(output, Mapping) else None
        if not isinstance(tenant, str) or tenant.lower() != self.tenant_id:
            return self._die("tenant-mismatch", now, CmdletError("connected to another tenant", fqid=TENANT_MISMATCH))
        version = body.get("module_version")
        self.module_version = str(version) if version else None
        if self.reason is not None:
            return self._exit(now)
        self.state, self._idle_since = "idle", now
        return [Ready()]

    def _is_foreign(self, body: Mapping[str, Any], answer: Returned | Raised) -> bool:
        if isinstance(answer, Raised) and answer.error.fqid == TENANT_MISMATCH:
            return True
        tenant = body.get("tenant_id")
        if tenant is None:
            # An error may come before the host could tell; a result never does.
            return body.get("ok") is True
        return str(tenant).lower() != self.tenant_id

    def _reserve(self) -> list[Action]:
        if not self.usable():
            raise ValueError(f"a session that is {self.state} cannot be reserved")
        self.state, self.reserved = "busy", True
        return []

    def _release(self, now: float) -> list[Action]:
        self.reserved = False
        if self._flight is not None:
            return self._die("abandoned", now)
        if self.state == "draining":
            return self._exit(now)
        self.state, self._idle_since = "idle", now
        worn = self._worn_out(now)
        return [Ready()] if worn is None else self._drain(worn, now)

    def _invoke(self, event: Invoked, now: float) -> list[Action]:
        if not self.reserved or self._flight is not None:
            raise ValueError("a session runs one request at a time, for the visit that holds it")
        self._flight = _Flight(event.request_id, now, now + event.timeout_seconds + self._limits.hang_grace_seconds)
        timeout_ms = max(1, round(event.timeout_seconds * 1000))
        return [Send({"id": event.request_id, **event.message, "timeout_ms": timeout_ms})]

    def _drain(self, reason: str, now: float) -> list[Action]:
        self.reason = self.reason or reason
        if self.state == "idle":
            return self._exit(now)
        if self.state == "busy":
            self.state = "draining"
        return []

    def _exit(self, now: float) -> list[Action]:
        self.state = "draining"
        if self._exit_deadline is not None:
            return []
        self._exit_deadline = now + self._limits.exit_grace_seconds
        return [Send({"id": f"{self._connect_id}-exit", "op": "exit"})]

    def _memory(self, size_bytes: int, now: float) -> list[Action]:
        self.memory_bytes = size_bytes
        if size_bytes > self._limits.memory_hard_bytes:
            return self._die("memory-hard", now)
        if size_bytes > self._limits.memory_soft_bytes:
            return self._drain("memory-soft", now)
        return []

    def _tick(self, now: float) -> list[Action]:
        if self._flight is not None and now >= self._flight.hard_deadline:
            return self._die("hung", now)
        if self._exit_deadline is not None and now >= self._exit_deadline:
            return self._die(self.reason or "drained", now)
        if self.state in {"starting", "connecting"} and now - self._started_at > self._limits.connect_seconds_max:
            error = CmdletError("no connection within the time allowed", fqid=TIMEOUT, category="OperationTimeout")
            return self._die("connect-timeout", now, error)
        if self.state == "idle":
            if now - self._idle_since > self._limits.idle_seconds_max:
                return self._drain("idle", now)
            worn = self._worn_out(now)
            if worn is not None:
                return self._drain(worn, now)
        return []

    def _worn_out(self, now: float) -> str | None:
        if now - self._started_at > self._limits.age_seconds_max:
            return "max-age"
        if self.executions >= self._limits.executions_max:
            return "max-executions"
        return None

    def _die(self, reason: str, now: float, error: CmdletError | None = None) -> list[Action]:
        self.state, self.reason, self._connect = "dead", reason, None
        actions: list[Action] = [Kill()]
        if self._flight is not None:
            flight, self._flight = self._flight, None
            actions.append(Answered(flight.request_id, Lost(reason, round((now - flight.sent_at) * 1000))))
        return [*actions, Ended(reason, error)]


def _foreign(tenant_id: str, body: Mapping[str, Any]) -> Raised:
    error = CmdletError(
        message=f"the session answered for another tenant than {tenant_id}",
        fqid=TENANT_MISMATCH,
        details=str(body.get("tenant_id") or ""),
    )
    return Raised(error)
