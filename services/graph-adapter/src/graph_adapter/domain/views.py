"""What the store remembers, as values: stored replies, operations for an operator, tenants.

Owns their fields. Refuses behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The reply of an operation that is done, as it was sent, to where it is asked for now. `data` is its JSON."""

    operation_id: UUID
    plan_id: UUID | None
    tenant_id: str
    reply_to: str
    traceparent: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class HandOver:
    """These operations are to be leased by whoever accepts them."""

    operation_ids: frozenset[UUID]
    lease_id: UUID
    lease_end: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of commands: `done` are the stored replies of those carried out before, `leased` those handed over;
    the others are queued, or were already.
    """

    done: Sequence[StoredReply]
    leased: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class OperationView:
    """One operation as an operator sees it; `params` and `reply` only in the view of one."""

    seq: int
    operation_id: UUID
    operation: str
    version: int
    tenant_id: str
    target: str
    state: str
    lane: str
    plan_id: UUID | None
    attempts: int
    received_at: datetime
    not_before: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime
    outcome: str | None
    error_code: str | None
    params: Mapping[str, Any] | None = None
    reply: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TenantView:
    """What is known about a tenant: its active credential, the permissions last seen in its token, its pause."""

    tenant_id: str
    active_credential_id: UUID | None
    roles: frozenset[str] | None
    roles_seen_at: datetime | None
    paused_until: datetime | None = None
