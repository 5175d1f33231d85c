"""Carry on the plans whose time has come: polls, retries, silence, effective dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from orchestrator.application.plan_engine import PlanEngine, carry_on
from orchestrator.application.plan_metrics import TIMERS_POSTPONED, TRANSITIONS
from orchestrator.application.plan_spans import timers_span
from orchestrator.domain.plan_ports import LoadedPlan
from orchestrator.domain.plan_status import TimerFired

POSTPONE_SECONDS = 60.0

_log = get_logger("orchestrator.plans")


@dataclass(frozen=True, slots=True)
class Fired:
    """How many plans were carried on, and when the next one is due (None: nothing is planned)."""

    count: int
    next_due: datetime | None


async def fire_timers(engine: PlanEngine, db: Database, count_max: int = 200) -> Fired:
    """One batch in one transaction; several workers may do this side by side.

    A plan that cannot be carried on must not stop the others: then the batch is taken one by one, the culprit put off.
    """
    claimed: Sequence[LoadedPlan] = ()
    try:
        async with db.transaction() as tx:
            claimed = await engine.rows.claim_due(tx, engine.clock.now(), count_max)
            if claimed:
                with timers_span([each.plan for each in claimed]):
                    await carry_on(engine, tx, claimed, {each.plan.plan_id: [TimerFired()] for each in claimed})
            next_due = await engine.rows.next_due(tx)
    except MeshError as error:
        if error.retryable:
            raise
        return await _one_by_one(engine, db, [each.plan.plan_id for each in claimed])
    except Exception:  # a defect of one plan, or of the rules for it: found below, logged with the plan's id
        return await _one_by_one(engine, db, [each.plan.plan_id for each in claimed])
    TRANSITIONS.labels("timer").inc(len(claimed))
    return Fired(len(claimed), next_due)


async def _one_by_one(engine: PlanEngine, db: Database, plan_ids: Sequence[UUID]) -> Fired:
    for plan_id in plan_ids:
        try:
            async with db.transaction() as tx:
                loaded = await engine.rows.load(tx, [plan_id])
                await carry_on(engine, tx, loaded, {plan_id: [TimerFired()]})
        except Exception as error:
            if isinstance(error, MeshError) and error.retryable:
                raise
            await _postpone(engine, db, plan_id, error)
    async with db.read() as tx:
        return Fired(len(plan_ids), await engine.rows.next_due(tx))


async def _postpone(engine: PlanEngine, db: Database, plan_id: UUID, error: Exception) -> None:
    TIMERS_POSTPONED.inc()
    _log.error("plans.timer_postponed", plan_id=str(plan_id), error=f"{type(error).__name__}: {error}")
    async with db.transaction() as tx:
        await engine.rows.postpone(tx, plan_id, engine.clock.now() + timedelta(seconds=POSTPONE_SECONDS))
