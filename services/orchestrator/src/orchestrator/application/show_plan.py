"""Show one plan, and its operations with what they read, changed and why they failed."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from mesh_runtime.db import Database
from mesh_runtime.errors import NotFound
from orchestrator.domain.plan_ports import PlanReadings, PlanSummary
from orchestrator.domain.plan_status import OperationStatus


async def show_plan(readings: PlanReadings, db: Database, plan_id: UUID) -> PlanSummary:
    """The plan with counts of its present round. Raises NotFound."""
    async with db.read() as tx:
        found = await readings.one(tx, plan_id)
    if found is None:
        raise NotFound(f"there is no plan {plan_id}", code="plan-not-found")
    return found


async def show_operations(readings: PlanReadings, db: Database, plan_id: UUID) -> Sequence[OperationStatus]:
    """All operations of all rounds in their order. Raises NotFound."""
    async with db.read() as tx:
        if await readings.one(tx, plan_id) is None:
            raise NotFound(f"there is no plan {plan_id}", code="plan-not-found")
        return await readings.operations(tx, plan_id)
