"""What is told about sessions and executions, and the credential a session connects with.

Owns plain values for the log and the API. Refuses secrets in a printable form: a credential does not show itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pwsh_gateway.domain.operations import Module

Cloud = Literal["commercial", "gcc-high", "dod", "china"]


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """A delivered credential without its secret."""

    credential_id: uuid.UUID
    tenant_id: str
    customer: str
    client_id: str
    organization: str
    cloud: Cloud
    thumbprint: str | None
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """What a session needs to connect. `pfx` is base64."""

    facts: CredentialFacts
    pfx: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session serves exactly one of these for life."""

    tenant_id: str
    module: Module
    credential_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The state of a session as it is shown and stored."""

    session_id: uuid.UUID
    key: SessionKey
    customer: str
    canary: bool
    state: str
    pid: int | None
    module_version: str | None
    reason: str | None
    error: str | None
    executions: int
    memory_bytes: int
    operation_id: uuid.UUID | None
    started_at: datetime
    connected_at: datetime | None
    last_used_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """A session began to serve, or ended."""

    action: Literal["started", "ended"]
    session_id: uuid.UUID
    tenant_id: str
    module: Module
    reason: str | None
    executions: int
    at: datetime

    @classmethod
    def about(
        cls, record: SessionRecord, action: Literal["started", "ended"], reason: str | None, at: datetime
    ) -> SessionEvent:
        """The event that tells of a session's present state."""
        key = record.key
        return cls(action, record.session_id, key.tenant_id, key.module, reason, record.executions, at)


@dataclass(frozen=True, slots=True)
class Execution:
    """One cmdlet that was run: the execution log. Secret parameters are masked before they get here."""

    execution_id: uuid.UUID
    session_id: uuid.UUID
    operation_id: uuid.UUID
    tenant_id: str
    cmdlet: str
    params: Mapping[str, Any]
    outcome: Literal["succeeded", "error", "lost"]
    error: Mapping[str, Any] | None
    warnings: tuple[str, ...]
    attempt: int
    started_at: datetime
    duration_ms: int
    trace_id: str | None
