"""What the plan engine asks of the rules: plan a person, settle a plan, answer local operations, take other replies.

All are called with the open transaction of a batch and must use set-based statements; none may do network IO.
The engine owns plans and operations; the rules own people, numbers and seats. Neither writes the other's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan import Lane, Operation, OperationState, Plan, PlanState, Reason
from orchestrator.domain.plan_status import Reply

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


Refusal = Reason
"""A business no before anything was touched: nothing is reserved, the plan ends refused with this reason."""


@lean_dataclass(frozen=True, slots=True)
class StartPlan:
    """A plan to start. `observe` reads the person's present state; its reply is what the planner sees.

    `refusal` set = the rules already know the answer (site unknown ...): the plan is recorded as refused, nothing is
    dispatched, `observe` is not needed and `tenant_id` may be "". `lane` None = decided by the size of the batch.
    `not_before` in the future = the plan waits, scheduled, and observes then.
    """

    plan_id: UUID
    person_id: UUID
    customer: str
    tenant_id: str
    employee_id: str
    observe: Operation | None
    kind: str = "joiner"
    lane: Lane | None = None
    not_before: datetime | None = None
    traceparent: str | None = None
    refusal: Refusal | None = None


@lean_dataclass(frozen=True, slots=True)
class PlanningRequest:
    """One observed person: `observed` is the output of the observe operation, exactly as the adapter gave it."""

    plan_id: UUID
    person_id: UUID
    observed: Mapping[str, Any]
    lane: Lane = "normal"


@lean_dataclass(frozen=True, slots=True)
class ObservationRequest:
    """A plan that is tried again: which read shows the person's present state by today's rules?"""

    plan_id: UUID
    person_id: UUID


@lean_dataclass(frozen=True, slots=True)
class Observation:
    """The answer to an ObservationRequest. A `not_before` in the future schedules the plan again."""

    tenant_id: str
    observe: Operation
    not_before: datetime | None = None


class Planner(Protocol):
    """Implemented by the rules."""

    async def build(self, tx: AsyncConnection, requests: Sequence[PlanningRequest]) -> Mapping[UUID, Plan | Refusal]:
        """A plan or a refusal for each request, by plan_id. Reserves seats, numbers and names under row locks.

        A refused request leaves no reservation. Asking again for the same plan_id replaces its earlier reservations.
        """
        ...

    async def observe(
        self, tx: AsyncConnection, requests: Sequence[ObservationRequest]
    ) -> Mapping[UUID, Observation | Refusal]:
        """The observe operation for plans that are tried again, with today's configuration and HR data."""
        ...


@lean_dataclass(frozen=True, slots=True)
class SettledOperation:
    """One operation of an ended plan: `changed` is true while its change is still in place."""

    key: str
    state: OperationState
    changed: bool
    output: Mapping[str, Any]
    error: Mapping[str, Any] | None = None


@lean_dataclass(frozen=True, slots=True)
class SettledPlan:
    """An ended plan. A plan may settle again later (held -> compensated, or tried again): the last one counts."""

    plan_id: UUID
    person_id: UUID
    customer: str
    tenant_id: str
    employee_id: str
    kind: str
    state: PlanState
    reason: Reason | None
    operations: Sequence[SettledOperation]
    observed: Mapping[str, Any] = field(default_factory=dict)


class Settlement(Protocol):
    """Implemented by the rules."""

    async def settle(self, tx: AsyncConnection, settled: Sequence[SettledPlan]) -> None:
        """Make reservations final or release them, note the person's status. Idempotent per (plan_id, state)."""
        ...


@lean_dataclass(frozen=True, slots=True)
class LocalRequest:
    """A poll of a local operation (target "mesh")."""

    request_id: UUID
    plan_id: UUID
    name: str
    params: Mapping[str, Any]


@lean_dataclass(frozen=True, slots=True)
class LocalResult:
    """`outcome` failed = not yet (polled again until the wait's deadline); refused = never."""

    outcome: Literal["succeeded", "refused", "failed"]
    output: Mapping[str, Any] = field(default_factory=dict)
    code: str = "not-ready"
    message: str = ""
    remedy: str | None = None


class LocalOperations(Protocol):
    """Implemented by the rules."""

    async def resolve(self, tx: AsyncConnection, requests: Sequence[LocalRequest]) -> Mapping[UUID, LocalResult]:
        """Answers by request_id; a request without an answer counts as not yet."""
        ...


class UnplannedReplies(Protocol):
    """Implemented by the rules: replies to operations that belong to no plan (tenant.observe)."""

    async def take(self, tx: AsyncConnection, replies: Sequence[Reply]) -> None:
        """Record the replies. Called once per batch, only when there are any."""
        ...


@lean_dataclass(frozen=True, slots=True)
class PreviewSubject:
    """What a preview needs to know about the HR event it was given, as if the event had been taken in."""

    request: PlanningRequest
    site: str | None = None
    profile: str | None = None
    observed_at: datetime | None = None


class PreviewSource(Protocol):
    """Implemented by the rules; the transaction it is called in is always rolled back."""

    async def prepare(self, tx: AsyncConnection, customer: str, event: Mapping[str, Any]) -> PreviewSubject | Refusal:
        """Take in the HR event data (contract: HR event data) and name the person and the last observed state.

        Raises InvalidInput for an event that intake would reject, NotFound for an unknown customer.
        """
        ...
