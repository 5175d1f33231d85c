"""Plans as the API shows them.

Owns the shapes and words of the plan endpoints' answers. Internal names (rows, rounds' bookkeeping) stay inside; times
are UTC; unset fields are null, never missing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from orchestrator.application.plan_spans import trace_id_of
from orchestrator.application.preview_plan import PlanPreview
from orchestrator.domain.plan import Lane, Operation, OperationState, PlanState, Reason
from orchestrator.domain.plan_ports import PlanSummary
from orchestrator.domain.plan_status import Json, OperationStatus


class ReasonView(BaseModel):
    """Why a plan is where it is, and what can be done about it."""

    code: str = Field(description="Stable name of the reason, e.g. `no-seats`, `number-taken`, `undo-failed`")
    message: str = Field(description="The reason in words")
    remedy: str | None = Field(description="What an admin can do; null when there is nothing to do")


class CountsView(BaseModel):
    """Operations of the present try, the first read included."""

    total: int
    succeeded: int
    failed: int = Field(description="Failed or refused")


class PlanView(BaseModel):
    """One plan: what one person's change set out to do and how far it got."""

    plan_id: UUID
    customer: str
    tenant_id: str | None = Field(description="Microsoft Entra tenant id; null when no site could be chosen")
    employee_id: str
    person_id: UUID
    kind: str = Field(description="Lifecycle, e.g. `joiner`")
    lane: Lane = Field(description="`urgent` overtakes `normal`, `normal` overtakes `bulk`")
    state: PlanState = Field(
        description="observing: reading the present state · scheduled: waits for `not_before` · running · "
        "compensating: undoing · ends: succeeded, refused (nothing was changed), compensated (all undone), "
        "held (needs a person), cancelled"
    )
    reason: ReasonView | None = Field(description="Why it ended as it did; null while it runs and when it succeeded")
    undoing_because: ReasonView | None = Field(description="Why it is or was undone")
    operations: CountsView
    tries: int = Field(description="1, and one more for every retry")
    effects: dict[str, Any] = Field(description="What the plan is about: site, profile, UPN, licences, number")
    trace_id: str | None = Field(description="The trace from the HR event to the last cmdlet")
    created_at: datetime
    not_before: datetime | None = Field(description="The plan waits for this moment")
    next_at: datetime | None = Field(description="When the plan is looked at again at the latest")
    finished_at: datetime | None


class OperationErrorView(BaseModel):
    """Why an operation is waiting, failed or was refused."""

    code: str
    message: str
    retryable: bool = False
    remedy: str | None = None
    detail: dict[str, Any] | None = None


class OperationView(BaseModel):
    """One operation of a plan."""

    operation_id: UUID | None = Field(description="Id of the latest dispatch, the same in every log; null before it")
    key: str = Field(description="Name within the plan; `depends_on` refers to it")
    title: str = Field(description="What it does, for people")
    service: Literal["graph", "pwsh", "mesh"] = Field(description="Who carries it out")
    operation: str = Field(description="Catalogued operation name")
    version: int
    round: int = Field(description="The try it belongs to")
    state: OperationState
    depends_on: list[str]
    on_failure: str = Field(description="compensate: undo the plan · hold: stop and ask · continue: go on without")
    changed: bool = Field(description="True while its change is in place in the tenant")
    dispatches: int = Field(description="How often it was sent, polls and undos included")
    subject: str = Field(description="The object it acts on")
    params: dict[str, Any] = Field(description="As planned; `$from` refers to another operation's output")
    permission: str | None = Field(description="Permission the app registration needs")
    before: str | None
    after: str | None
    waits_for: dict[str, Any] | None = Field(description="Set for waits: what must be read before the plan goes on")
    expects: dict[str, Any] | None = Field(description="Set for proofs: what must be read back")
    output: dict[str, Any] = Field(description="What the service answered last")
    undo: dict[str, Any] | None = Field(description="The operation that exactly reverses the change")
    error: OperationErrorView | None
    request_ids: list[str] = Field(description="Microsoft's request ids")
    ready_at: datetime | None = Field(description="When everything it depends on was done")
    next_at: datetime | None = Field(description="Next poll, retry or reminder")
    finished_at: datetime | None


class PreviewOperation(BaseModel):
    """One operation a plan would have."""

    key: str
    title: str
    service: Literal["graph", "pwsh", "mesh"]
    operation: str
    depends_on: list[str]
    on_failure: str
    permission: str | None
    before: str | None = Field(description="The value now, as far as it is known")
    after: str | None = Field(description="The value the operation would leave")


class PreviewView(BaseModel):
    """What an HR event would do. Exactly one of `operations` (perhaps empty: nothing to do) and `refusal` counts."""

    customer: str
    employee_id: str | None
    tenant_id: str | None
    site: str | None
    profile: str | None
    observed_at: datetime | None = Field(
        description="When the person was last read; null: never, so every `before` is a guess"
    )
    refusal: ReasonView | None = Field(description="Why there would be no plan")
    operations: list[PreviewOperation]
    permissions: list[str] = Field(description="Permissions the app registration needs for this plan")
    effects: dict[str, Any] = Field(description="Licences, seats and number the plan would take")
    not_before: datetime | None = Field(description="The plan would wait for this moment")


class StateView(BaseModel):
    """Where the plan is now."""

    plan_id: UUID
    state: PlanState


def plan_view(found: PlanSummary) -> PlanView:
    """A plan for the API."""
    plan = found.plan
    return PlanView(
        plan_id=plan.plan_id,
        customer=plan.customer,
        tenant_id=plan.tenant_id or None,
        employee_id=plan.employee_id,
        person_id=plan.person_id,
        kind=plan.kind,
        lane=plan.lane,
        state=plan.state,
        reason=_reason(plan.reason),
        undoing_because=_reason(plan.cause),
        operations=CountsView(
            total=found.operations_total, succeeded=found.operations_succeeded, failed=found.operations_failed
        ),
        tries=plan.round,
        effects=dict(plan.effects_data),
        trace_id=trace_id_of(plan.traceparent),
        created_at=plan.created_at,
        not_before=plan.not_before,
        next_at=plan.due_at,
        finished_at=plan.finished_at,
    )


def operation_view(row: OperationStatus) -> OperationView:
    """An operation for the API."""
    spec = row.spec
    return OperationView(
        operation_id=row.operation_id,
        key=row.key,
        title=spec.title,
        service=row.target,
        operation=spec.name,
        version=spec.version,
        round=row.round,
        state=row.state,
        depends_on=list(row.depends_on),
        on_failure=row.failure,
        changed=row.changed,
        dispatches=row.attempt,
        subject=spec.subject,
        params=dict(spec.params),
        permission=spec.permission,
        before=spec.before,
        after=spec.after,
        waits_for=dict(spec.wait.ready or {}) if spec.wait else None,
        expects=_copy(spec.expect),
        output=dict(row.output_data),
        undo=_copy(row.undo_data),
        error=None if row.error_data is None else OperationErrorView.model_validate(row.error_data),
        request_ids=list(row.request_ids),
        ready_at=row.ready_at,
        next_at=row.due_at,
        finished_at=row.finished_at,
    )


def preview_view(preview: PlanPreview) -> PreviewView:
    """A preview for the API."""
    plan = preview.plan
    return PreviewView(
        customer=preview.customer,
        employee_id=plan.employee_id if plan else None,
        tenant_id=(plan.tenant_id or None) if plan else None,
        site=preview.site,
        profile=preview.profile,
        observed_at=preview.observed_at,
        refusal=_reason(preview.refusal),
        operations=[_preview_operation(each) for each in plan.operations] if plan else [],
        permissions=preview.permissions,
        effects=dict(plan.effects) if plan else {},
        not_before=plan.not_before if plan else None,
    )


def _preview_operation(operation: Operation) -> PreviewOperation:
    return PreviewOperation(
        key=operation.key,
        title=operation.title or operation.name,
        service=operation.target,
        operation=operation.name,
        depends_on=list(operation.depends_on),
        on_failure=operation.failure,
        permission=operation.permission,
        before=operation.before,
        after=operation.after,
    )


def _reason(reason: Reason | None) -> ReasonView | None:
    if reason is None:
        return None
    return ReasonView(code=reason.code, message=reason.message, remedy=reason.remedy)


def _copy(value: Json | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)
