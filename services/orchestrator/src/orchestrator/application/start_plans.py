"""Start plans: one row each, and the read of the person's present state on its way, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.application.carried_plan import observe_row
from orchestrator.application.plan_engine import PlanEngine, carry_on
from orchestrator.application.plan_spans import plan_started
from orchestrator.domain.plan import Lane, PlanState
from orchestrator.domain.plan_ports import LoadedPlan
from orchestrator.domain.plan_status import Event, PlanningRefused, PlanStatus, Started
from orchestrator.domain.ports import StartPlan

BULK_FROM = 21


async def start_plans(engine: PlanEngine, tx: AsyncConnection, requests: Sequence[StartPlan]) -> None:
    """Plans begin to observe, wait for their `not_before`, or are recorded as refused; each is announced as created.

    A plan_id may be started once; the second time is an integrity error of the database.
    """
    if not requests:
        return
    now = engine.clock.now()
    loaded: list[LoadedPlan] = []
    events: dict[UUID, list[Event]] = {}
    for request in requests:
        plan = _status(request, lane_of(request, len(requests)), now)
        loaded.append(LoadedPlan(plan, [], new=True))
        events[plan.plan_id] = [_first_event(engine, plan, request)]
    await carry_on(engine, tx, loaded, events)


def _first_event(engine: PlanEngine, plan: PlanStatus, request: StartPlan) -> Event:
    if request.refusal is not None:
        return PlanningRefused(request.refusal)
    if request.observe is None:
        raise ValueError(f"plan {request.plan_id} has nothing to observe and is not refused either")
    return Started(observe_row(plan, request.observe, engine.ids))


def lane_of(request: StartPlan, batch_size: int) -> Lane:
    """The wanted lane, or: a person alone is urgent, a handful normal, a file of more than 20 bulk."""
    if request.lane is not None:
        return request.lane
    if batch_size >= BULK_FROM:
        return "bulk"
    return "urgent" if batch_size == 1 else "normal"


def _status(request: StartPlan, lane: Lane, now: datetime) -> PlanStatus:
    later = request.not_before is not None and request.not_before > now and request.refusal is None
    plan = PlanStatus(
        plan_id=request.plan_id,
        person_id=request.person_id,
        customer=request.customer,
        tenant_id=request.tenant_id,
        employee_id=request.employee_id,
        kind=request.kind,
        lane=lane,
        state=PlanState.SCHEDULED if later else PlanState.OBSERVING,
        created_at=now,
        not_before=request.not_before,
    )
    plan.traceparent = plan_started(plan, request.traceparent)
    return plan
