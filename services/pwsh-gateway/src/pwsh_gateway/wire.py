"""What this service says and hears: the JSON of its messages, to and from the words of the domain.

Owns the models of consumed payloads (only the fields it needs; unknown ones are ignored) and the payloads it publishes.
Sources: contracts/schemas/ucmesh.pwsh.*, contracts/schemas/ucmesh.certs.credential.*.
"""

from __future__ import annotations

import uuid
from datetime import UTC
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from mesh_messaging.envelope import format_time
from pwsh_gateway.domain.operations import Command, Lane, Reply
from pwsh_gateway.domain.sessions import Cloud, CredentialFacts, SessionEvent

SOURCE = "/pwsh-gateway"
RECEIVER = "pwsh-gateway"

COMMANDS_TOPIC = "ucmesh.pwsh.commands.v1"
BULK_COMMANDS_TOPIC = "ucmesh.pwsh-bulk.commands.v1"
CERTIFICATES_TOPIC = "ucmesh.certificates.v1"
SESSIONS_TOPIC = "ucmesh.sessions.v1"
EXECUTE = "ucmesh.pwsh.operation.v1.execute"
COMPLETED = "ucmesh.pwsh.operation.v1.completed"
DELIVERED = "ucmesh.certs.credential.v1.delivered"
ACTIVATED = "ucmesh.certs.credential.v1.activated"
FAILED = "ucmesh.certs.credential.v1.failed"
SESSION = "ucmesh.pwsh.session.v1"

TenantId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", to_lower=True)
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ExecutePayload(_Payload):
    """The command: one catalogued operation to carry out once. Never script text."""

    operation_id: uuid.UUID
    operation: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$", max_length=100)]
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    tenant_id: TenantId
    target: Text
    params: dict[str, Any]
    deadline: AwareDatetime
    reply_to: Annotated[str, StringConstraints(pattern=r"^ucmesh\.[a-z-]+\.replies\.v1$")]
    plan_id: uuid.UUID | None = None
    lane: Lane = "normal"
    credential: Annotated[str, StringConstraints(min_length=1, max_length=64, to_lower=True)] = "active"

    def command(self, traceparent: str | None) -> Command:
        """The command in the words of the domain."""
        return Command(
            operation_id=self.operation_id,
            operation=self.operation,
            version=self.version,
            tenant_id=self.tenant_id,
            target=self.target,
            params=self.params,
            deadline=self.deadline.astimezone(UTC),
            reply_to=self.reply_to,
            plan_id=self.plan_id,
            lane=self.lane,
            credential=self.credential,
            traceparent=traceparent,
        )


class DeliveredPayload(_Payload):
    """A credential for somebody; ours when `sealed` holds a part for this service."""

    credential_id: uuid.UUID
    tenant_id: TenantId
    customer: Text
    client_id: Text
    organization: Text
    cloud: Cloud
    kind: Literal["certificate", "client_secret"]
    thumbprint: str | None = None
    not_before: AwareDatetime
    not_after: AwareDatetime
    sealed: dict[str, str]

    def facts(self) -> CredentialFacts:
        """Everything but the secret."""
        return CredentialFacts(
            credential_id=self.credential_id,
            tenant_id=self.tenant_id,
            customer=self.customer,
            client_id=self.client_id,
            organization=self.organization,
            cloud=self.cloud,
            thumbprint=self.thumbprint,
            not_before=self.not_before,
            not_after=self.not_after,
        )


class ActivatedPayload(_Payload):
    """The credential that is to be used from now on."""

    credential_id: uuid.UUID
    tenant_id: TenantId


class FailedPayload(_Payload):
    """A credential that does not work."""

    credential_id: uuid.UUID | None
    tenant_id: TenantId


def completed_payload(reply: Reply) -> dict[str, Any]:
    """The reply on the wire."""
    verdict = reply.verdict
    undo, problem = verdict.undo, verdict.problem
    return {
        "operation_id": str(reply.operation_id),
        "plan_id": str(reply.plan_id) if reply.plan_id is not None else None,
        "operation": reply.operation,
        "version": reply.version,
        "tenant_id": reply.tenant_id,
        "outcome": verdict.outcome,
        "changed": verdict.changed,
        "output": dict(verdict.output),
        "undo": None
        if undo is None
        else {"operation": undo.operation, "version": undo.version, "params": dict(undo.params)},
        "error": None
        if problem is None
        else {
            "code": problem.code,
            "message": problem.message,
            "retryable": problem.retryable,
            "detail": dict(problem.detail),
            "remedy": problem.remedy,
        },
        "attempts": reply.attempts,
        "started_at": format_time(reply.started_at),
        "finished_at": format_time(reply.finished_at),
        "request_ids": list(reply.request_ids),
    }


def session_payload(event: SessionEvent) -> dict[str, Any]:
    """The session event on the wire."""
    return {
        "session_id": str(event.session_id),
        "tenant_id": event.tenant_id,
        "module": event.module,
        "reason": event.reason,
        "executions": event.executions,
        "at": format_time(event.at),
    }
