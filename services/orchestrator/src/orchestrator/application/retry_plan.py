"""Try an ended plan again: observe anew, plan by today's rules, carry on from what is there."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.db import Database
from mesh_runtime.errors import Conflict, NotFound, Refused
from orchestrator.application.carried_plan import observe_row
from orchestrator.application.plan_engine import PlanEngine, carry_on
from orchestrator.domain.plan import PlanState
from orchestrator.domain.plan_core import TRIED_AGAIN
from orchestrator.domain.plan_ports import LoadedPlan
from orchestrator.domain.plan_status import Retried
from orchestrator.domain.plan_step import is_unknown
from orchestrator.domain.ports import ObservationRequest, Refusal


async def retry_plan(engine: PlanEngine, db: Database, plan_id: UUID) -> PlanState:
    """Returns the plan's new state, `observing` or `scheduled`.

    Raises NotFound; Conflict for a plan that succeeded or is under way; Refused when today's rules still say no, or put
    the person into another tenant while something of the plan is left in the present one.
    """
    async with db.transaction() as tx:
        loaded = await load_one(engine, tx, plan_id)
        plan = loaded.plan
        if plan.state not in TRIED_AGAIN:
            raise Conflict(
                f"the plan is {plan.state.value}",
                code="plan-not-retryable",
                remedy="Only refused, compensated, held and cancelled plans are tried again.",
            )
        request = ObservationRequest(plan_id, plan.person_id)
        answer = (await engine.planner.observe(tx, [request])).get(plan_id)
        if answer is None:
            raise RuntimeError(f"the planner gave no observation for plan {plan_id}")
        if isinstance(answer, Refusal):
            raise Refused(answer.message, code=answer.code, remedy=answer.remedy)
        if answer.tenant_id != plan.tenant_id and _left_something(loaded):
            raise Refused(
                f"the person now belongs to tenant {answer.tenant_id}, but the plan left changes in {plan.tenant_id}",
                code="tenant-changed",
                remedy="Cancel the plan, so that its changes are undone; then send the HR event again.",
            )
        again = replace(plan, tenant_id=answer.tenant_id)
        observe = replace(observe_row(again, answer.observe, engine.ids), round=plan.round + 1)
        retried = Retried(observe, answer.not_before)
        after = await carry_on(engine, tx, [LoadedPlan(again, loaded.operations)], {plan_id: [retried]})
    return after[plan_id].state


def _left_something(loaded: LoadedPlan) -> bool:
    return any(row.changed or is_unknown(row) for row in loaded.operations)


async def load_one(engine: PlanEngine, tx: AsyncConnection, plan_id: UUID) -> LoadedPlan:
    """The locked plan. Raises NotFound."""
    loaded = await engine.rows.load(tx, [plan_id])
    if not loaded:
        raise NotFound(f"there is no plan {plan_id}", code="plan-not-found")
    return loaded[0]
