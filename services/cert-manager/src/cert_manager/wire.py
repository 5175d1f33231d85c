"""How cert-manager's messages look outside; models hold only what we read (contracts/schemas)."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from cert_manager.application.ensure_credential import Ensure
from cert_manager.domain.credential import Registration, Workload
from cert_manager.domain.ports import Answer, Outgoing
from mesh_messaging.envelope import CloudEvent, format_time, new_event
from mesh_messaging.outbox import OutboundMessage
from mesh_runtime.clock import Clock, IdGenerator

SOURCE = "/ucmesh/cert-manager"
COMMANDS_TOPIC = "ucmesh.certs.commands.v1"
CERTIFICATES_TOPIC = "ucmesh.certificates.v1"
REPLIES_TOPIC = "ucmesh.cert-manager.replies.v1"
GRAPH_TOPIC = "ucmesh.graph.commands.v1"
PWSH_TOPIC = "ucmesh.pwsh.commands.v1"

ENSURE = "ucmesh.certs.credential.v1.ensure"
GRAPH_COMPLETED = "ucmesh.graph.operation.v1.completed"
PWSH_COMPLETED = "ucmesh.pwsh.operation.v1.completed"
GRAPH_EXECUTE = "ucmesh.graph.operation.v1.execute"
PWSH_EXECUTE = "ucmesh.pwsh.operation.v1.execute"
TYPE_PREFIX = "ucmesh.certs.credential.v1."

COMMAND_LIFETIME_SECONDS = 120
PROBES = {
    Workload.GRAPH: (GRAPH_TOPIC, GRAPH_EXECUTE, "tenant.probe"),
    Workload.EXCHANGE: (PWSH_TOPIC, PWSH_EXECUTE, "exchange.organization.probe"),
    Workload.TEAMS: (PWSH_TOPIC, PWSH_EXECUTE, "teams.tenant.probe"),
}


class CertificatePolicy(BaseModel):
    """How the certificate is made."""

    key_bits: int = Field(2048, ge=2048, le=8192)
    validity_days: int = Field(365, ge=1, le=1095)


class EnsureCommand(BaseModel):
    """Data of ucmesh.certs.credential.v1.ensure."""

    tenant_id: str
    customer: str
    organization: str
    client_id: str
    application_object_id: str
    cloud: str
    bootstrap_secret: str | None
    policy: CertificatePolicy = CertificatePolicy()

    def to_request(self) -> Ensure:
        """In domain terms."""
        registration = Registration(
            tenant_id=self.tenant_id,
            customer=self.customer,
            organization=self.organization,
            client_id=self.client_id,
            application_object_id=self.application_object_id,
            cloud=self.cloud,
            key_bits=self.policy.key_bits,
            validity_days=self.policy.validity_days,
            has_bootstrap_secret=self.bootstrap_secret is not None,
        )
        return Ensure(registration, self.bootstrap_secret)


class CompletedError(BaseModel):
    """Why an operation did not succeed."""

    code: str
    message: str
    retryable: bool = False


class Completed(BaseModel):
    """Data of ucmesh.{graph,pwsh}.operation.v1.completed, as far as we read it."""

    operation_id: UUID
    outcome: str
    error: CompletedError | None
    finished_at: datetime

    def to_answer(self) -> Answer:
        """In domain terms. A credential that has not arrived yet at the adapter is worth another try."""
        error = self.error
        return Answer(
            operation_id=self.operation_id,
            outcome=self.outcome,
            code=error.code if error else None,
            message=error.message if error else None,
            retryable=error is not None and error.retryable,
            at=self.finished_at,
        )


class Messages:
    """Makes the messages we publish."""

    def __init__(self, *, clock: Clock, ids: IdGenerator) -> None:
        self._clock, self._ids = clock, ids

    def outbound(self, out: Outgoing) -> OutboundMessage:
        """The message of one step of the reconciler."""
        if out.kind == "register":
            return self._register(out)
        if out.kind == "probe" and out.workload is not None:
            topic, kind, operation = PROBES[out.workload]
            order = Order(topic, kind, operation, f"canary:{out.workload}", {}, _credential_id(out))
            return self._command(out, order)
        return OutboundMessage(
            CERTIFICATES_TOPIC, out.tenant_id, self._new_event(TYPE_PREFIX + out.kind, out.tenant_id, out, _event(out))
        )

    def _register(self, out: Outgoing) -> OutboundMessage:
        registration = _registration(out)
        params = {
            "application_object_id": registration.application_object_id,
            "certificate": base64.b64encode(out.certificate_der or b"").decode(),
            "display_name": f"ucmesh {registration.customer}",
        }
        target = registration.application_object_id
        credential = _credential_id(out) if out.credential is not None else "active"
        return self._command(out, Order(GRAPH_TOPIC, GRAPH_EXECUTE, "application.add-key", target, params, credential))

    def _command(self, out: Outgoing, order: "Order") -> OutboundMessage:
        deadline = self._clock.now() + timedelta(seconds=COMMAND_LIFETIME_SECONDS)
        data = {
            "operation_id": str(out.operation_id),
            "operation": order.operation,
            "version": 1,
            "tenant_id": out.tenant_id,
            "target": order.target,
            "params": order.params,
            "deadline": format_time(deadline),
            "reply_to": REPLIES_TOPIC,
            "plan_id": None,
            "lane": "urgent",
            "credential": order.credential,
        }
        key = f"{out.tenant_id}:{order.target}"
        return OutboundMessage(order.topic, key, self._new_event(order.kind, order.target, out, data))

    def _new_event(self, kind: str, subject: str, out: Outgoing, data: dict[str, Any]) -> CloudEvent:
        return new_event(kind, SOURCE, data, subject=subject, tenant=out.tenant_id, ids=self._ids, clock=self._clock)


@dataclass(frozen=True, slots=True)
class Order:
    """A command to an adapter: where it goes and what it names."""

    topic: str
    kind: str
    operation: str
    target: str
    params: dict[str, Any]
    credential: str


def _event(out: Outgoing) -> dict[str, Any]:
    credential, registration = out.credential, _registration(out)
    if out.kind == "failed":
        return {
            "credential_id": _credential_id(out) if credential else None,
            "tenant_id": out.tenant_id,
            "code": out.code,
            "message": out.message,
            "remedy": out.remedy,
        }
    if credential is None:
        raise ValueError(f"{out.kind} needs a credential")
    common = {
        "credential_id": str(credential.credential_id),
        "tenant_id": out.tenant_id,
        "kind": credential.kind.value,
        "thumbprint": credential.thumbprint,
        "not_after": format_time(credential.not_after),
    }
    if out.kind == "activated":
        return common | {"workloads": {workload.value: "verified" for workload in Workload}}
    return common | {
        "customer": registration.customer,
        "client_id": registration.client_id,
        "application_object_id": registration.application_object_id,
        "organization": registration.organization,
        "cloud": registration.cloud,
        "not_before": format_time(credential.not_before),
        "sealed": dict(out.sealed or {}),
    }


def _registration(out: Outgoing) -> Registration:
    if out.registration is None:
        raise ValueError(f"{out.kind} needs a registration")
    return out.registration


def _credential_id(out: Outgoing) -> str:
    if out.credential is None:
        raise ValueError(f"{out.kind} needs a credential")
    return str(out.credential.credential_id)
