"""When an operation without a verdict is tried again, and when enough is enough.

Owns the bounds: attempts, back-off and the deadline. Refuses to end an operation whose effect is unknown as if
nothing had happened: it is read back once more, a little beyond the deadline if need be, or else reported as
ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pwsh_gateway.domain.catalogue import Entry
from pwsh_gateway.domain.operations import Intent, Operation, Problem, Verdict
from pwsh_gateway.domain.procedure import Again, undo_of

READ_BACK_GRACE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The gateway's defaults; a rule may allow fewer attempts."""

    attempts_max: int = 5
    first_seconds: float = 2
    factor: float = 2
    cap_seconds: float = 60

    def wait_seconds(self, attempt: int) -> float:
        """The pause after the attempt with this number (from 1)."""
        return float(min(self.cap_seconds, self.first_seconds * self.factor ** max(0, attempt - 1)))


@dataclass(frozen=True, slots=True)
class Postponed:
    """Back to the queue until `not_before`. `keep_intent` as long as a write may have taken effect."""

    not_before: datetime
    problem: Problem
    keep_intent: bool


def decide(
    operation: Operation, again: Again, *, intent: Intent | None, entry: Entry, now: datetime, policy: RetryPolicy
) -> Postponed | Verdict:
    """Try again, or give the final verdict."""
    keep_intent = again.ambiguous or operation.intent is not None
    attempts_max = min(again.rule.attempts_max or policy.attempts_max, policy.attempts_max)
    latest = operation.deadline + timedelta(seconds=READ_BACK_GRACE_SECONDS if keep_intent else 0)
    wait = 0.0 if again.rule.action == "reconnect" else policy.wait_seconds(operation.attempts)
    if again.wait_seconds is not None:
        wait = max(wait, again.wait_seconds)
    not_before = now + timedelta(seconds=wait)
    if keep_intent and not_before > operation.deadline:
        not_before = max(now, operation.deadline)
    if operation.attempts < attempts_max and not_before <= latest and (keep_intent or not_before < operation.deadline):
        return Postponed(not_before, again.problem, keep_intent)
    return _final(operation, again, intent if keep_intent else None, entry)


def _final(operation: Operation, again: Again, intent: Intent | None, entry: Entry) -> Verdict:
    problem = replace(again.problem, detail={**again.problem.detail, "attempts": operation.attempts})
    if intent is None:
        return Verdict("failed", problem=problem)
    return ambiguous(operation.params, intent, entry, problem)


def ambiguous(params: Mapping[str, Any], intent: Intent, entry: Entry, problem: Problem) -> Verdict:
    """Nobody knows whether the write took effect. The reversal is named all the same: it looks before it acts."""
    problem = replace(
        problem,
        code="ambiguous",
        retryable=True,
        message=f"{problem.message}; whether the change was made could not be read back",
        remedy="Run the operation again: it looks first and changes only what is not so yet.",
    )
    undo = undo_of(entry, params, intent.former)
    return Verdict("failed", changed=True, undo=undo, problem=problem)
