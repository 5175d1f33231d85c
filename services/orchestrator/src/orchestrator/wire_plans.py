"""Operations on the wire: commands out and replies in; and plan events out. The only place that knows their fields.

Owns topics, types and keys of these messages (contracts/: *.operation.v1.execute, *.operation.v1.completed,
ucmesh.plans.plan.v1.*). Commands of the bulk lane, and the answers to them, have topics of their own, so that no plan
of another lane waits for them. Unknown fields of a reply are ignored; a reply off the contract is InvalidInput.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mesh_messaging.envelope import CloudEvent
from mesh_messaging.outbox import OutboundMessage
from mesh_runtime.errors import InvalidInput
from orchestrator.domain.plan import Lane
from orchestrator.domain.plan_ports import Command, Notice
from orchestrator.domain.plan_status import Json, Reply

REPLIES_TOPIC = "ucmesh.orchestrator.replies.v1"
BULK_REPLIES_TOPIC = "ucmesh.orchestrator-bulk.replies.v1"
PLANS_TOPIC = "ucmesh.plans.v1"
COMMAND_TOPICS = {"graph": "ucmesh.graph.commands.v1", "pwsh": "ucmesh.pwsh.commands.v1"}
BULK_COMMAND_TOPICS = {"graph": "ucmesh.graph-bulk.commands.v1", "pwsh": "ucmesh.pwsh-bulk.commands.v1"}
COMMAND_TYPES = {"graph": "ucmesh.graph.operation.v1.execute", "pwsh": "ucmesh.pwsh.operation.v1.execute"}
COMPLETED_TYPES = ("ucmesh.graph.operation.v1.completed", "ucmesh.pwsh.operation.v1.completed")
SOURCE = "/orchestrator"
REQUEST_ID_LENGTH_MAX = 100
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class Undo(BaseModel):
    """What exactly reverses a change."""

    operation: str = Field(min_length=1, max_length=200)
    version: int = Field(1, ge=1)
    params: dict[str, Any]


class OperationError(BaseModel):
    """Why an operation failed or was refused."""

    code: str = Field(min_length=1, max_length=200)
    message: str
    retryable: bool = False
    detail: dict[str, Any] | None = None
    remedy: str | None = None


class Completed(BaseModel):
    """An adapter's reply."""

    model_config = ConfigDict(extra="ignore")

    operation_id: UUID
    plan_id: UUID | None
    operation: str = Field(min_length=1, max_length=200)
    version: int = Field(ge=1)
    tenant_id: str = Field(min_length=1, max_length=200)
    outcome: Literal["succeeded", "refused", "failed"]
    changed: bool
    output: dict[str, Any] | None = None
    undo: Undo | None = None
    error: OperationError | None = None
    started_at: datetime | None = None
    request_ids: list[str] = Field(default_factory=list)


def from_completed(event: CloudEvent) -> Reply:
    """Read a completed event. Raises InvalidInput naming the fields that are off the contract."""
    try:
        data = Completed.model_validate_json(event.data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        text = "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in problems[:10])
        raise InvalidInput(f"not a completed operation: {text}", code="invalid-reply") from error
    return Reply(
        operation_id=data.operation_id,
        plan_id=data.plan_id,
        tenant_id=data.tenant_id.lower(),
        operation=data.operation,
        outcome=data.outcome,
        changed=data.changed,
        output=data.output or {},
        undo=data.undo.model_dump() if data.undo else None,
        error=data.error.model_dump(exclude_none=True) if data.error else None,
        started_at=data.started_at,
        request_ids=tuple(_UNPRINTABLE.sub("", each)[:REQUEST_ID_LENGTH_MAX] for each in data.request_ids[:20]),
    )


def to_command(command: Command, event_id: UUID, now: datetime) -> OutboundMessage:
    """The execute command of a dispatch, in the trace of its plan."""
    plan, dispatch = command.plan, command.dispatch
    data = execute_data(
        dispatch.operation_id,
        dispatch.name,
        dispatch.version,
        tenant_id=plan.tenant_id,
        subject=dispatch.subject,
        params=dispatch.params,
        deadline=dispatch.deadline,
        plan_id=plan.plan_id,
        lane=plan.lane,
    )
    event = CloudEvent(
        id=str(event_id),
        source=SOURCE,
        type=COMMAND_TYPES[dispatch.target],
        time=now,
        subject=dispatch.subject,
        tenant=plan.tenant_id,
        data=orjson.dumps(data),
        traceparent=plan.traceparent,
    )
    topics = BULK_COMMAND_TOPICS if plan.lane == "bulk" else COMMAND_TOPICS
    return OutboundMessage(topics[dispatch.target], f"{plan.tenant_id}:{dispatch.subject}", event)


def execute_data(
    operation_id: UUID,
    operation: str,
    version: int,
    *,
    tenant_id: str,
    subject: str,
    params: Json,
    deadline: datetime,
    plan_id: UUID | None = None,
    lane: Lane = "normal",
) -> dict[str, Any]:
    """Data of an execute command; without `plan_id` it belongs to no plan."""
    return {
        "operation_id": str(operation_id),
        "operation": operation,
        "version": version,
        "tenant_id": tenant_id,
        "target": subject,
        "params": params,
        "deadline": _time(deadline),
        "reply_to": BULK_REPLIES_TOPIC if lane == "bulk" else REPLIES_TOPIC,
        "plan_id": None if plan_id is None else str(plan_id),
        "lane": lane,
        "credential": "active",
    }


def to_plan_event(notice: Notice, event_id: UUID, now: datetime) -> OutboundMessage:
    """The plan event of a notice. A plan that was refused before a tenant was chosen names none."""
    plan, reason = notice.plan, notice.reason
    data: Mapping[str, Any] = {
        "plan_id": str(plan.plan_id),
        "customer": plan.customer,
        "tenant_id": plan.tenant_id or None,
        "employee_id": plan.employee_id,
        "kind": plan.kind,
        "state": plan.state.value,
        "reason": None
        if reason is None
        else {"code": reason.code, "message": reason.message or reason.code, "remedy": reason.remedy or None},
        "operations": {
            "total": notice.operations_total,
            "succeeded": notice.operations_succeeded,
            "failed": notice.operations_failed,
        },
        "at": _time(now),
    }
    event = CloudEvent(
        id=str(event_id),
        source=SOURCE,
        type=f"ucmesh.plans.plan.v1.{notice.action}",
        time=now,
        subject=str(plan.plan_id),
        tenant=plan.tenant_id or None,
        data=orjson.dumps(data),
        traceparent=plan.traceparent,
    )
    return OutboundMessage(PLANS_TOPIC, str(plan.plan_id), event)


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
