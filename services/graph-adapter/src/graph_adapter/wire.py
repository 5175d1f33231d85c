"""What we take from and give to other services, as models of this service only; the truth is in `contracts/`.

Owns names of types and topics and the mapping to the domain. Refuses what the contract does not allow; ignores fields
it does not know.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from graph_adapter.domain.credential import Credential, CredentialKind
from graph_adapter.domain.operation import ACTIVE_CREDENTIAL, Command, Lane, Reply, failed
from mesh_messaging.event import DATA_BYTES_MAX, CloudEvent
from mesh_runtime.errors import InvalidInput
from mesh_runtime.values import lean_dataclass

SOURCE = "/graph-adapter"
CONSUMER = "graph-adapter"

COMMANDS_TOPIC = "ucmesh.graph.commands.v1"
BULK_COMMANDS_TOPIC = "ucmesh.graph-bulk.commands.v1"
CERTIFICATES_TOPIC = "ucmesh.certificates.v1"

EXECUTE = "ucmesh.graph.operation.v1.execute"
COMPLETED = "ucmesh.graph.operation.v1.completed"
CREDENTIAL_DELIVERED = "ucmesh.certs.credential.v1.delivered"
CREDENTIAL_ACTIVATED = "ucmesh.certs.credential.v1.activated"

RECEIVER = "graph-adapter"

TENANTS_REMEMBERED_MAX = 20_000


@lru_cache(maxsize=TENANTS_REMEMBERED_MAX)
def _tenant(value: str) -> str:
    return str(UUID(value))


def _credential_reference(value: str) -> str:
    return value if value == ACTIVE_CREDENTIAL else str(UUID(value))


TenantId = Annotated[str, AfterValidator(_tenant)]
# Control characters have no place in names, and PostgreSQL takes no NUL.
Text = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$")]
# Only topics made for replies: a command must not be able to write anywhere else.
ReplyTopic = Annotated[str, StringConstraints(pattern=r"^ucmesh\.[a-z0-9-]+\.replies\.v[0-9]+$", max_length=200)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Execute(_Message):
    """Data of EXECUTE."""

    operation_id: UUID
    operation: Text
    version: int = Field(ge=1)
    tenant_id: TenantId
    target: Text
    params: dict[str, Any]
    deadline: AwareDatetime
    reply_to: ReplyTopic
    plan_id: UUID | None = None
    lane: Lane = Lane.NORMAL
    credential: Annotated[str, AfterValidator(_credential_reference)] = ACTIVE_CREDENTIAL


class Delivered(_Message):
    """Data of CREDENTIAL_DELIVERED."""

    credential_id: UUID
    tenant_id: TenantId
    customer: Text
    client_id: Text
    application_object_id: Text
    organization: Text
    cloud: Text = "commercial"
    kind: CredentialKind
    thumbprint: str | None = None
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    sealed: dict[str, str]


class Activated(_Message):
    """Data of CREDENTIAL_ACTIVATED; only what we need of it."""

    credential_id: UUID
    tenant_id: TenantId


class CertificateBundle(_Message):
    """The plaintext of a sealed certificate."""

    certificate_pem: str
    private_key_pem: str


class SecretBundle(_Message):
    """The plaintext of a sealed client secret."""

    client_secret: str


def _read(model: type[Any], event: CloudEvent) -> Any:
    try:
        return model.model_validate_json(event.data)
    except ValidationError as error:
        places = {".".join(str(part) for part in item["loc"]) or "data" for item in error.errors(include_input=False)}
        raise InvalidInput(
            f"{event.type}: not as the contract says: {', '.join(sorted(places))}", code="contract-violated"
        ) from None


def command_of(event: CloudEvent) -> Command:
    """Raises InvalidInput naming the wrong fields, without their values."""
    data: Execute = _read(Execute, event)
    return Command(
        operation_id=data.operation_id,
        operation=data.operation,
        version=data.version,
        tenant_id=data.tenant_id,
        target=data.target,
        params=data.params,
        deadline=data.deadline.astimezone(UTC),
        reply_to=data.reply_to,
        plan_id=data.plan_id,
        lane=data.lane,
        credential=data.credential,
        traceparent=event.traceparent,
    )


def delivery_of(event: CloudEvent) -> tuple[Credential, str] | None:
    """The credential and the JWE sealed for us; None when it is for other receivers only. Raises InvalidInput."""
    data: Delivered = _read(Delivered, event)
    jwe = data.sealed.get(RECEIVER)
    if jwe is None:
        return None
    fields = data.model_dump(exclude={"sealed"})
    return Credential(**fields), jwe


def activation_of(event: CloudEvent) -> tuple[str, UUID]:
    """Raises InvalidInput."""
    data: Activated = _read(Activated, event)
    return data.tenant_id, data.credential_id


@lean_dataclass(frozen=True, slots=True)
class Completed:
    """A reply ready to be stored and sent."""

    outcome: str
    error_code: str | None
    data: bytes


def completed(reply: Reply) -> Completed:
    """The reply as COMPLETED. One that no message can hold becomes a failure without its output; what undoes it
    stays.
    """
    data = completed_data(reply)
    if len(data) > DATA_BYTES_MAX:
        message = f"The answer is larger than a message may be ({DATA_BYTES_MAX} bytes)."
        end = replace(failed("output-too-large", message), changed=reply.result.changed, undo=reply.result.undo)
        reply = replace(reply, result=end)
        data = completed_data(reply)
    error = reply.result.error
    return Completed(reply.result.outcome.value, error.code if error is not None else None, data)


def completed_data(reply: Reply) -> bytes:
    """Data of COMPLETED."""
    command, result = reply.command, reply.result
    undo, error = result.undo, result.error
    return orjson.dumps(
        {
            "operation_id": str(command.operation_id),
            "plan_id": str(command.plan_id) if command.plan_id is not None else None,
            "operation": command.operation,
            "version": command.version,
            "tenant_id": command.tenant_id,
            "outcome": result.outcome.value,
            "changed": result.changed,
            "output": result.output,
            "undo": None
            if undo is None
            else {"operation": undo.operation, "version": undo.version, "params": undo.params},
            "error": None
            if error is None
            else {
                "code": error.code,
                "message": error.message,
                "retryable": error.retryable,
                "detail": error.detail,
                "remedy": error.remedy,
            },
            "attempts": reply.attempts,
            "started_at": _utc(reply.started_at),
            "finished_at": _utc(reply.finished_at),
            "request_ids": list(reply.request_ids),
        },
        option=orjson.OPT_UTC_Z,
        default=_plain,
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} does not belong on the wire")


OperationState = Literal["queued", "leased", "done"]
