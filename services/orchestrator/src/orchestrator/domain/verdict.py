"""What a reply means for its operation: done, again later, or over. Pure judgement, no state is changed here.

                   reply succeeded                     reply failed                     reply refused
plain operation    done                                again (retryable, tries left)    over
wait (gate)        done if ready, else again           again (retryable) until the      again for *-not-found,
                   until the deadline                  deadline                         else over
proof (expect)     done if as expected, else again     again (retryable, tries left)    over
                   while tries are left
undo               done                                again (retryable, tries left)    over

A reply that says that its command came to its turn too late is always followed by another command: nothing was tried. A
bulk that Microsoft lets in slowly may wait for hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan import Operation
from orchestrator.domain.plan_status import Json, OperationStatus, Reply
from orchestrator.domain.retry import backoff_seconds, poll_seconds
from orchestrator.domain.verification import Difference, UnresolvedReferenceError, differences, resolve

NOT_READY = "not-ready"
UNPROVEN = "unproven"
TOO_LATE = "deadline-exceeded"


@lean_dataclass(frozen=True, slots=True)
class Done:
    """The operation (or its undo) succeeded."""


@lean_dataclass(frozen=True, slots=True)
class Again:
    """Dispatch a new attempt after `seconds`; `error` says why, for whoever looks meanwhile."""

    seconds: float
    error: Json


@lean_dataclass(frozen=True, slots=True)
class Over:
    """The operation (or its undo) ended without success."""

    outcome: Literal["refused", "failed"]
    error: Json


Verdict = Done | Again | Over


def judge(operation: OperationStatus, reply: Reply, outputs: Mapping[str, Any], now: datetime) -> Verdict:
    """The verdict on the reply to the present dispatch of `operation`; `outputs` by key resolve references."""
    if operation.undo_from:
        return _undone(operation, reply)
    spec = operation.spec
    if spec.wait is not None:
        return _gate(operation, reply, outputs, now)
    if reply.outcome != "succeeded":
        return _unsuccessful(operation, reply, operation.attempt)
    if spec.expect is None:
        return Done()
    return _proof(operation, spec, reply, outputs)


def _undone(operation: OperationStatus, reply: Reply) -> Verdict:
    if reply.outcome == "succeeded":
        return Done()
    return _unsuccessful(operation, reply, operation.attempt - operation.undo_from + 1)


def _unsuccessful(operation: OperationStatus, reply: Reply, tries: int) -> Verdict:
    error = error_of(reply)
    if reply.outcome == "refused":
        return Over("refused", error)
    retry = operation.spec.retry
    if error.get("code") == TOO_LATE:
        return Again(backoff_seconds(retry, 1, operation.id.int), error)
    if not error.get("retryable") or tries >= retry.attempts_max:
        return Over("failed", error)
    return Again(backoff_seconds(retry, tries, operation.id.int), error)


def _gate(operation: OperationStatus, reply: Reply, outputs: Mapping[str, Any], now: datetime) -> Verdict:
    wait = operation.spec.wait
    assert wait is not None
    if reply.outcome == "succeeded":
        found = _compare(wait.ready, reply.output, outputs)
        if not found:
            return Done()
        error: Json = {"code": NOT_READY, "message": describe(found), "retryable": True}
    else:
        error = error_of(reply)
        missing = str(error.get("code", "")).endswith("not-found")
        if reply.outcome == "refused" and not missing:
            return Over("refused", error)
        if reply.outcome == "failed" and not (error.get("retryable") or missing or error.get("code") == TOO_LATE):
            return Over("failed", error)
    ends_at = (operation.ready_at or now) + timedelta(seconds=wait.deadline_seconds)
    left = (ends_at - now).total_seconds()
    if left <= 0:
        return Over("failed", _gave_up(operation.spec, error, wait.deadline_seconds))
    # The last poll happens at the deadline itself: what became ready in the last interval still counts.
    return Again(min(poll_seconds(wait, operation.attempt, operation.id.int), left), error)


def _gave_up(spec: Operation, error: Json, deadline_seconds: float) -> Json:
    last = error.get("message", "")
    return {
        "code": NOT_READY,
        "message": f"not ready after {deadline_seconds:.0f} s ({spec.title or spec.name}); last: {last}",
        "retryable": False,
        "detail": {"last": dict(error)},
        "remedy": error.get("remedy"),
    }


def _proof(operation: OperationStatus, spec: Operation, reply: Reply, outputs: Mapping[str, Any]) -> Verdict:
    found = _compare(spec.expect, reply.output, outputs)
    if not found:
        return Done()
    error: Json = {
        "code": UNPROVEN,
        "message": f"read-back differs: {describe(found)}",
        "retryable": False,
        "detail": {"differences": [{"path": f.path, "expected": f.expected, "actual": f.actual} for f in found]},
        "remedy": "compare with the tenant; try the plan again once it shows the expected values",
    }
    if operation.attempt >= spec.retry.attempts_max:
        return Over("failed", error)
    return Again(backoff_seconds(spec.retry, operation.attempt, operation.id.int), error)


def _compare(expected: Mapping[str, Any] | None, output: Json, outputs: Mapping[str, Any]) -> Sequence[Difference]:
    if not expected:
        return ()
    try:
        return differences(resolve(expected, outputs), output)
    except UnresolvedReferenceError as error:
        return [Difference("$from", str(error), None)]


def describe(found: Sequence[Difference]) -> str:
    """The differences as one line for people, at most five of them."""
    parts = [f"{each.path} is {each.actual!r}, expected {each.expected!r}" for each in found[:5]]
    return "; ".join(parts) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def error_of(reply: Reply) -> Json:
    """The error of an unsuccessful reply; a reply without one still gets a code and a message."""
    if reply.error:
        return reply.error
    return {"code": reply.outcome, "message": f"{reply.operation} {reply.outcome} without a reason", "retryable": False}
