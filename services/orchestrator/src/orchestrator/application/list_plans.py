"""List plans, newest first, by customer, state and person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from mesh_runtime.db import Database
from orchestrator.domain.plan_ports import PlanFilter, PlanReadings, PlanSummary


@dataclass(frozen=True, slots=True)
class PlanPage:
    """One page; `next_after` None = the last one."""

    plans: Sequence[PlanSummary]
    next_after: UUID | None


async def list_plans(
    readings: PlanReadings, db: Database, wanted: PlanFilter, *, after: UUID | None, limit: int
) -> PlanPage:
    """The page behind `after`. Plans that come in meanwhile do not move the pages."""
    async with db.read() as tx:
        found = await readings.page(tx, wanted, after, limit + 1)
    plans = found[:limit]
    return PlanPage(plans, plans[-1].plan.plan_id if len(found) > limit else None)
