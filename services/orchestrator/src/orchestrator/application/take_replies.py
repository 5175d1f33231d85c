"""Take a batch of adapters' replies: the plans they belong to move on, the others go to whoever asked."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.logs import get_logger
from orchestrator.application.plan_engine import PlanEngine, carry_on
from orchestrator.application.plan_metrics import REPLIES_IGNORED, TRANSITIONS
from orchestrator.domain.plan_status import Event, Reply

_log = get_logger("orchestrator.plans")


async def take_replies(engine: PlanEngine, tx: AsyncConnection, replies: Sequence[Reply]) -> None:
    """Plans move on by all their replies of the batch at once. Replies to unknown plans are counted and dropped.

    A reply from another tenant than the plan's is never taken: it would let one tenant's adapter speak for another.
    """
    unplanned = [reply for reply in replies if reply.plan_id is None]
    if unplanned:
        await engine.unplanned.take(tx, unplanned)
    by_plan: dict[UUID, list[Reply]] = {}
    for reply in replies:
        if reply.plan_id is not None:
            by_plan.setdefault(reply.plan_id, []).append(reply)
    if not by_plan:
        return
    loaded = await engine.rows.load(tx, by_plan)
    events: dict[UUID, list[Event]] = {}
    for each in loaded:
        own: list[Event] = []
        for reply in by_plan.pop(each.plan.plan_id):
            if reply.tenant_id == each.plan.tenant_id:
                own.append(reply)
            else:
                _ignore(reply, "other-tenant")
        events[each.plan.plan_id] = own
    for strangers in by_plan.values():
        for reply in strangers:
            _ignore(reply, "unknown-plan")
    TRANSITIONS.labels("reply").inc(len(loaded))
    await carry_on(engine, tx, loaded, events)


def _ignore(reply: Reply, reason: str) -> None:
    REPLIES_IGNORED.labels(reason).inc()
    _log.warning("plans.reply_ignored", reason=reason, plan_id=str(reply.plan_id), operation_id=str(reply.operation_id))
