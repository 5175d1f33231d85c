"""Cancel a plan: what has not begun is left out, what changed is undone."""

from __future__ import annotations

from uuid import UUID

from mesh_runtime.db import Database
from mesh_runtime.errors import Conflict
from orchestrator.application.plan_engine import PlanEngine, carry_on
from orchestrator.application.retry_plan import load_one
from orchestrator.domain.plan import PlanState, Reason
from orchestrator.domain.plan_status import Cancelled
from orchestrator.domain.plan_undo import DONE_WITH


async def cancel_plan(engine: PlanEngine, db: Database, plan_id: UUID, *, actor: str) -> PlanState:
    """Returns the plan's state: `cancelled` at once when nothing is out and nothing changed, else `compensating`.

    Raises NotFound, and Conflict for a plan that succeeded or left nothing behind.
    """
    async with db.transaction() as tx:
        loaded = await load_one(engine, tx, plan_id)
        if loaded.plan.state in DONE_WITH:
            raise Conflict(
                f"the plan has already ended {loaded.plan.state.value}",
                code="plan-ended",
                remedy="A succeeded joiner is taken back by a leaver, not by cancelling.",
            )
        reason = Reason("cancelled", f"cancelled by {actor}")
        after = await carry_on(engine, tx, [loaded], {plan_id: [Cancelled(reason)]})
    return after[plan_id].state
