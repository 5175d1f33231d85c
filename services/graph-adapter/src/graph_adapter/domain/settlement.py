"""What one round leaves behind, written in one transaction.

Owns the collection. Refuses to be partial: either all of it is durable, or the next holder of the leases does it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from graph_adapter.domain.operation import LeasedOperation, Reply
from mesh_runtime.values import lean_dataclass


@lean_dataclass(frozen=True, slots=True)
class Parked:
    """An operation that goes back into the queue until `not_before`, with its memory. `interrupted` keeps an
    unresolved interruption. Not `begun`: its turn did not come, and this lease was no attempt.
    """

    operation_id: UUID
    not_before: datetime
    progress: Mapping[str, Any] | None
    interrupted: bool
    begun: bool = True


@lean_dataclass(frozen=True, slots=True)
class Checkpoint:
    """The memory of an operation that is about to write."""

    operation_id: UUID
    progress: Mapping[str, Any]


@lean_dataclass(frozen=True, slots=True)
class TenantPause:
    """Nothing of this tenant is leased before `until`."""

    until: datetime
    reason: str


@dataclass(slots=True)
class Settlement:
    """`roles` are the permissions seen in a fresh token of the active credential."""

    tenant_id: str
    lease_id: UUID
    replies: list[Reply] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    pause: TenantPause | None = None
    roles: frozenset[str] | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.replies or self.parked or self.checkpoints or self.pause or self.roles is not None)


def unbegun(leased: LeasedOperation, now: datetime) -> Parked:
    """Back into the queue as if this lease had not been."""
    return Parked(leased.command.operation_id, now, leased.progress, leased.interrupted, begun=False)
