"""The words of the gateway: commands taken in, operations in the queue, verdicts and replies.

Owns plain values only. Refuses behaviour: who decides what about them is in the modules beside this one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Module = Literal["MicrosoftTeams", "ExchangeOnlineManagement"]
MODULES: tuple[Module, ...] = ("MicrosoftTeams", "ExchangeOnlineManagement")
Lane = Literal["urgent", "normal", "bulk"]
LANES: tuple[Lane, ...] = ("urgent", "normal", "bulk")
Outcome = Literal["succeeded", "refused", "failed"]
ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Stream:
    """What may be served by one session: operations of one tenant on one module with one credential."""

    tenant_id: str
    module: Module
    credential: str = ACTIVE


@dataclass(frozen=True, slots=True)
class Command:
    """One `execute` message, understood. `deadline` is an aware UTC datetime; `params` are not yet checked."""

    operation_id: uuid.UUID
    operation: str
    version: int
    tenant_id: str
    target: str
    params: Mapping[str, Any]
    deadline: datetime
    reply_to: str
    plan_id: uuid.UUID | None
    lane: Lane
    credential: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Intent:
    """Recorded before a write: the values it is about to replace, so that nothing is lost if we die meanwhile."""

    former: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One leased row of the queue."""

    operation_id: uuid.UUID
    seq: int
    operation: str
    version: int
    stream: Stream
    target: str
    params: Mapping[str, Any]
    deadline: datetime
    reply_to: str
    plan_id: uuid.UUID | None
    lane: Lane
    traceparent: str | None
    attempts: int
    received_at: datetime
    started_at: datetime
    intent: Intent | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an operation did not succeed; the `error` of a reply. `code` is stable and kebab-case."""

    code: str
    message: str
    retryable: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Undo:
    """The catalogued operation that exactly reverses what was changed."""

    operation: str
    version: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one operation ended."""

    outcome: Outcome
    changed: bool = False
    output: Mapping[str, Any] = field(default_factory=dict)
    undo: Undo | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One `completed` message. Stored with the operation; a re-delivered command gets the same one again."""

    operation_id: uuid.UUID
    plan_id: uuid.UUID | None
    operation: str
    version: int
    tenant_id: str
    reply_to: str
    verdict: Verdict
    attempts: int
    started_at: datetime
    finished_at: datetime
    request_ids: tuple[str, ...] = ()
    traceparent: str | None = None


def refused(code: str, message: str, *, remedy: str | None = None, detail: Mapping[str, Any] | None = None) -> Verdict:
    """A business no: never retried."""
    return Verdict("refused", problem=Problem(code, message, False, detail or {}, remedy))


def failed(
    code: str,
    message: str,
    *,
    retryable: bool = False,
    remedy: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Verdict:
    """A technical failure; `retryable` tells the caller whether the same command may succeed later."""
    return Verdict("failed", problem=Problem(code, message, retryable, detail or {}, remedy))
