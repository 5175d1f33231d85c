"""Rows and stored JSON to and from the words of the domain.

Owns the stored form of a reply, which outlives releases: fields may be added, never renamed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import orjson
from sqlalchemy import Row

from pwsh_gateway.domain.operations import LANES, Intent, Operation, Problem, Reply, Stream, Undo, Verdict


def dump(value: Any) -> str:
    """JSON for a jsonb column. A NUL, which jsonb cannot hold, becomes the replacement character."""
    text = orjson.dumps(value).decode()
    return text if "\\u0000" not in text else orjson.dumps(_without_nul(value)).decode()


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {key: _without_nul(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(part) for part in value]
    return value


def operation_of(row: Row[Any]) -> Operation:
    """A leased row."""
    intent = orjson.loads(row.intent) if row.intent is not None else None
    return Operation(
        operation_id=row.operation_id,
        seq=row.seq,
        operation=row.operation,
        version=row.version,
        stream=Stream(row.tenant_id, row.module, row.credential),
        target=row.target,
        params=orjson.loads(row.params),
        deadline=row.deadline,
        reply_to=row.reply_to,
        plan_id=row.plan_id,
        lane=LANES[row.lane],
        traceparent=row.traceparent,
        attempts=row.attempts,
        received_at=row.received_at,
        started_at=row.started_at,
        intent=Intent(intent) if intent is not None else None,
    )


def recent_of(row: Row[Any]) -> dict[tuple[str, str], Any]:
    """(subject, field) -> value of what was written to the target of a leased row not long ago; the latest wins."""
    if row.recent is None:
        return {}
    return {
        (str(identity or "").casefold(), name): value
        for identity, written in orjson.loads(row.recent)
        for name, value in written.items()
    }


def problem_as_data(problem: Problem) -> dict[str, Any]:
    """The `error` of a reply."""
    return {
        "code": problem.code,
        "message": problem.message,
        "retryable": problem.retryable,
        "detail": dict(problem.detail),
        "remedy": problem.remedy,
    }


def reply_as_data(reply: Reply) -> dict[str, Any]:
    """The stored form of a reply."""
    verdict = reply.verdict
    undo = verdict.undo
    return {
        "operation_id": str(reply.operation_id),
        "plan_id": str(reply.plan_id) if reply.plan_id is not None else None,
        "operation": reply.operation,
        "version": reply.version,
        "tenant_id": reply.tenant_id,
        "reply_to": reply.reply_to,
        "outcome": verdict.outcome,
        "changed": verdict.changed,
        "output": dict(verdict.output),
        "undo": {"operation": undo.operation, "version": undo.version, "params": dict(undo.params)} if undo else None,
        "error": problem_as_data(verdict.problem) if verdict.problem is not None else None,
        "attempts": reply.attempts,
        "started_at": reply.started_at.isoformat(),
        "finished_at": reply.finished_at.isoformat(),
        "request_ids": list(reply.request_ids),
        "traceparent": reply.traceparent,
    }


def reply_of(data: Mapping[str, Any]) -> Reply:
    """The reply of `reply_as_data`."""
    undo, error = data["undo"], data["error"]
    return Reply(
        operation_id=uuid.UUID(data["operation_id"]),
        plan_id=uuid.UUID(data["plan_id"]) if data["plan_id"] else None,
        operation=data["operation"],
        version=data["version"],
        tenant_id=data["tenant_id"],
        reply_to=data["reply_to"],
        verdict=Verdict(
            outcome=cast(Any, data["outcome"]),
            changed=data["changed"],
            output=data["output"],
            undo=Undo(undo["operation"], undo["version"], undo["params"]) if undo else None,
            problem=Problem(**error) if error else None,
        ),
        attempts=data["attempts"],
        started_at=datetime.fromisoformat(data["started_at"]),
        finished_at=datetime.fromisoformat(data["finished_at"]),
        request_ids=tuple(data["request_ids"]),
        traceparent=data["traceparent"],
    )
