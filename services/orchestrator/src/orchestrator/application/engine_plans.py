"""The plan engine as the rules see it (port `Plans`): start plans, withdraw those that have not begun."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from orchestrator.application.plan_engine import PlanEngine, carry_on
from orchestrator.application.start_plans import start_plans
from orchestrator.domain.plan import Reason
from orchestrator.domain.plan_status import Cancelled
from orchestrator.domain.plan_undo import DONE_WITH
from orchestrator.domain.ports import StartPlan

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class EnginePlans:
    """Rules and engine need each other; `engine` is set once, before anything runs."""

    engine: PlanEngine

    async def start(self, tx: "AsyncConnection", requests: Sequence[StartPlan]) -> None:
        await start_plans(self.engine, tx, requests)

    async def withdraw(self, tx: "AsyncConnection", plan_ids: Collection[UUID], reason: Reason) -> None:
        """Plans that ended meanwhile are left as they are."""
        if plan_ids:
            loaded = [each for each in await self.engine.rows.load(tx, plan_ids) if each.plan.state not in DONE_WITH]
            await carry_on(self.engine, tx, loaded, {each.plan.plan_id: [Cancelled(reason)] for each in loaded})
