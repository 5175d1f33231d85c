"""An operation on its way through the adapter: the command as accepted, the lease, and the reply.

Owns their fields. Refuses wire names and rows: `wire.py` and `adapters/db` map to and from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from graph_adapter.domain.recognition import ErrorRow, GraphError
from mesh_runtime.values import lean_dataclass

ACTIVE_CREDENTIAL = "active"
REQUEST_ID_COUNT_MAX = 20


class Lane(StrEnum):
    """Who goes first inside a tenant."""

    URGENT = "urgent"
    NORMAL = "normal"
    BULK = "bulk"


class Outcome(StrEnum):
    """How an operation ended: carried out, a business no, a technical failure."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"


@lean_dataclass(frozen=True, slots=True)
class Command:
    """What a requester asked for. `target` is the ordering key: one operation of a target runs at a time, oldest
    first, and they are leased together.
    """

    operation_id: UUID
    operation: str
    version: int
    tenant_id: str
    target: str
    params: Mapping[str, Any]
    deadline: datetime
    reply_to: str
    plan_id: UUID | None
    lane: Lane
    credential: str
    traceparent: str | None


@lean_dataclass(frozen=True, slots=True)
class LeasedOperation:
    """A command a worker holds for a limited time. `progress` is the state machine's memory of earlier attempts;
    `interrupted` says that the previous holder vanished, so a write may or may not have happened; `interruptions`
    counts how often that happened in a row.
    """

    command: Command
    attempts: int
    started_at: datetime
    progress: Mapping[str, Any] | None
    interrupted: bool
    interruptions: int = 0


@lean_dataclass(frozen=True, slots=True)
class OperationError:
    """Why an operation was refused or failed, for a person and for the caller's retry decision."""

    code: str
    message: str
    retryable: bool
    remedy: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@lean_dataclass(frozen=True, slots=True)
class Undo:
    """The operation of this service that reverses exactly what was changed."""

    operation: str
    version: int
    params: Mapping[str, Any]


@lean_dataclass(frozen=True, slots=True)
class Result:
    """The end of an operation. `created` are the names (id, sign-in name) of a directory object it made."""

    outcome: Outcome
    changed: bool = False
    output: Mapping[str, Any] = field(default_factory=dict)
    undo: Undo | None = None
    error: OperationError | None = None
    created: tuple[str, ...] = ()


@lean_dataclass(frozen=True, slots=True)
class Reply:
    """A result with everything the requester is told about it."""

    command: Command
    result: Result
    attempts: int
    started_at: datetime
    finished_at: datetime
    request_ids: tuple[str, ...]


def refused(code: str, message: str, *, remedy: str | None = None, detail: Mapping[str, Any] | None = None) -> Result:
    """A business no."""
    return Result(Outcome.REFUSED, error=OperationError(code, message, False, remedy, detail or {}))


def failed(
    code: str,
    message: str,
    *,
    retryable: bool = False,
    remedy: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Result:
    """A technical failure; `retryable` says whether the same command may succeed later without anybody acting."""
    return Result(Outcome.FAILED, error=OperationError(code, message, retryable, remedy, detail or {}))


def by_row(row: ErrorRow, detail: Mapping[str, Any], *, refuse: bool) -> Result:
    """The result the error table gives an error."""
    outcome = Outcome.REFUSED if refuse else Outcome.FAILED
    return Result(
        outcome, error=OperationError(row.code, row.message, row.retryable and not refuse, row.remedy, detail)
    )


def graph_detail(error: GraphError) -> dict[str, Any]:
    """Microsoft's own words, for the reply's detail."""
    return {"status": error.status, "graph_code": error.graph_code, "graph_message": error.graph_message}
