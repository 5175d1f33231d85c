"""The shapes of the management API's answers and requests.

Owns field names, which clients depend on. Refuses secrets: a credential is shown without one.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pwsh_gateway.domain.config import GatewayConfig, meanings
from pwsh_gateway.domain.operations import Module
from pwsh_gateway.domain.ports import StoredSession
from pwsh_gateway.domain.sessions import Execution


class SessionView(BaseModel):
    """One PowerShell session. `state`: starting, connecting, idle, busy, draining or dead."""

    session_id: uuid.UUID
    tenant_id: str
    customer: str
    module: Module
    credential_id: uuid.UUID
    canary: bool = Field(description="Made for one visit with a credential that is not active")
    state: str
    reason: str | None = Field(description="Why it ended or is ending")
    error: str | None
    pid: int | None
    instance: uuid.UUID = Field(description="The replica that runs it")
    module_version: str | None
    executions: int
    memory_bytes: int
    operation_id: uuid.UUID | None = Field(description="What it works on")
    started_at: datetime
    connected_at: datetime | None
    last_used_at: datetime | None
    ended_at: datetime | None
    terminate_by: str | None


class ExecutionView(BaseModel):
    """One cmdlet that was run."""

    execution_id: uuid.UUID
    session_id: uuid.UUID
    operation_id: uuid.UUID
    tenant_id: str
    cmdlet: str
    params: dict[str, Any]
    outcome: str = Field(description="succeeded, error, or lost: the session ended before it answered")
    error: dict[str, Any] | None
    warnings: list[str]
    attempt: int
    started_at: datetime
    duration_ms: int
    trace_id: str | None


class ConfigView(BaseModel):
    """Every setting that can be changed while the gateway runs, and what it means."""

    values: dict[str, Any]
    meanings: dict[str, str]


class ConfigChangeView(BaseModel):
    """One change of settings."""

    number: int
    at: datetime
    actor: str
    changes: dict[str, Any]


class TryRequest(BaseModel):
    """An error record to see which rule would decide about it."""

    model_config = ConfigDict(extra="forbid")
    module: Module
    message: str = Field(max_length=4000)
    fqid: str = ""
    type: str = ""
    category: str = ""
    reason: str = ""
    details: str = ""
    cmdlet: str = ""
    http: int | None = None


class CredentialView(BaseModel):
    """A delivered credential, without its secret."""

    credential_id: uuid.UUID
    tenant_id: str
    customer: str
    client_id: str
    organization: str
    cloud: str
    thumbprint: str | None
    not_before: datetime
    not_after: datetime
    state: str


def session_view(stored: StoredSession) -> SessionView:
    """A stored session as it is shown."""
    record = stored.record
    fields = {name: getattr(record, name) for name in SessionView.model_fields if hasattr(record, name)}
    key = record.key
    return SessionView(
        **fields,
        tenant_id=key.tenant_id,
        module=key.module,
        credential_id=key.credential_id,
        instance=stored.instance,
        terminate_by=stored.terminate_by,
    )


def execution_view(execution: Execution) -> ExecutionView:
    """One line of the execution log as it is shown."""
    return ExecutionView(**{name: getattr(execution, name) for name in ExecutionView.model_fields})


def config_view(config: GatewayConfig) -> ConfigView:
    """The values in force with their meanings."""
    return ConfigView(values=config.as_keys(), meanings=meanings())
