"""What the plan engine needs from the outside: its rows, and a way to speak in the transaction that makes it true.

Everything works on batches: the number of statements of a transition does not grow with the number of plans.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan import PlanState, Reason
from orchestrator.domain.plan_status import Dispatch, OperationStatus, PlanStatus

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

NoticeAction = Literal["created", "succeeded", "refused", "compensated", "held", "cancelled"]


@lean_dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan row, locked until the transaction ends, with all its operations of all rounds. `new` = not stored yet."""

    plan: PlanStatus
    operations: Sequence[OperationStatus]
    new: bool = False


@lean_dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a batch made of a plan: `operations` are all of all rounds, `added` and `changed` those to be written."""

    plan: PlanStatus
    new: bool
    plan_changed: bool
    operations: Sequence[OperationStatus]
    added: Sequence[OperationStatus]
    changed: Sequence[OperationStatus]


@lean_dataclass(frozen=True, slots=True)
class Command:
    """A dispatch on its way to an adapter, with the plan that gives it tenant, lane and trace."""

    plan: PlanStatus
    dispatch: Dispatch


@lean_dataclass(frozen=True, slots=True)
class Notice:
    """A plan event for everybody else. Counts are of the present round, observing included."""

    plan: PlanStatus
    action: NoticeAction
    reason: Reason | None
    operations_total: int
    operations_succeeded: int
    operations_failed: int


@lean_dataclass(frozen=True, slots=True)
class PlanFilter:
    """Which plans to list; None = any."""

    customer: str | None = None
    state: PlanState | None = None
    employee_id: str | None = None


@lean_dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan with the counts of its present round, for people."""

    plan: PlanStatus
    operations_total: int
    operations_succeeded: int
    operations_failed: int


class PlanReadings(Protocol):
    """The plans as people look at them; takes no locks."""

    async def page(
        self, tx: AsyncConnection, wanted: PlanFilter, after: UUID | None, count_max: int
    ) -> list[PlanSummary]:
        """Newest first, from behind `after`. Plan ids are made in the order of time, so they are the key."""
        ...

    async def one(self, tx: AsyncConnection, plan_id: UUID) -> PlanSummary | None:
        """One plan."""
        ...

    async def operations(self, tx: AsyncConnection, plan_id: UUID) -> list[OperationStatus]:
        """All operations of all rounds, in their order."""
        ...


class PlanRows(Protocol):
    """Tables plan, operation and gate_lag."""

    async def load(self, tx: AsyncConnection, plan_ids: Collection[UUID]) -> list[LoadedPlan]:
        """Lock and load the plans that exist, always in the same order, so that two batches never deadlock."""
        ...

    async def claim_due(self, tx: AsyncConnection, now: datetime, count_max: int) -> list[LoadedPlan]:
        """Lock and load plans whose time has come, passing by those that somebody else holds."""
        ...

    async def save(self, tx: AsyncConnection, plans: Sequence[SavedPlan]) -> None:
        """Write what a batch changed: at most one statement for each kind of write, and the timers' alarm."""
        ...

    async def lags(self, tx: AsyncConnection, tenant_ids: Collection[str]) -> Mapping[str, Mapping[str, float]]:
        """Learned seconds by tenant and gate."""
        ...

    async def learn(self, tx: AsyncConnection, measured: Mapping[tuple[str, str], float], now: datetime) -> None:
        """Take measured seconds by (tenant, gate) into the weighted means."""
        ...

    async def wake(self, tx: AsyncConnection, subjects: Collection[str], now: datetime) -> None:
        """Make local operations that wait for these subjects due now; those held by others are left to their poll."""
        ...

    async def next_due(self, tx: AsyncConnection) -> datetime | None:
        """When the next plan is due."""
        ...

    async def postpone(self, tx: AsyncConnection, plan_id: UUID, due_at: datetime) -> None:
        """Look at a plan later that cannot be handled now."""
        ...


class PlanMessages(Protocol):
    """The outbox, spoken to in the engine's terms."""

    async def append(self, tx: AsyncConnection, commands: Sequence[Command], notices: Sequence[Notice]) -> None:
        """Commands to the adapters and plan events to everybody, in one statement, in the caller's transaction."""
        ...
