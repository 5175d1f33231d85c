"""Preview an HR event: the plan it would make, before anything is written here or in the tenant.

The rules take the event in, reserve and plan exactly as they would, in a transaction that is always rolled back. It
shows what would happen now; the pools may look different by the time the event really comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.db import Database
from orchestrator.domain.plan import Plan
from orchestrator.domain.ports import Planner, PreviewSource, PreviewSubject, Refusal


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """Either a plan (perhaps an empty one) or a refusal. `observed_at` None = the person was never looked at."""

    customer: str
    plan: Plan | None
    refusal: Refusal | None
    site: str | None = None
    profile: str | None = None
    observed_at: datetime | None = None

    @property
    def permissions(self) -> list[str]:
        """What the app registration needs for this plan."""
        return sorted({each.permission for each in self.plan.operations if each.permission}) if self.plan else []


class _Seen(Exception):  # noqa: N818
    """Carries the answer out of the transaction and rolls it back on its way."""

    def __init__(self, preview: PlanPreview) -> None:
        super().__init__()
        self.preview = preview


async def preview_plan(
    source: PreviewSource, planner: Planner, db: Database, customer: str, event: Mapping[str, Any]
) -> PlanPreview:
    """Writes nothing. Raises InvalidInput for an event intake would reject, NotFound for an unknown customer."""
    try:
        async with db.transaction() as tx:
            _roll_back(await _look(source, planner, tx, customer, event))
    except _Seen as seen:
        return seen.preview


def _roll_back(preview: PlanPreview) -> NoReturn:
    raise _Seen(preview)


async def _look(
    source: PreviewSource, planner: Planner, tx: AsyncConnection, customer: str, event: Mapping[str, Any]
) -> PlanPreview:
    subject = await source.prepare(tx, customer, event)
    if isinstance(subject, Refusal):
        return PlanPreview(customer, None, subject)
    answer = (await planner.build(tx, [subject.request])).get(subject.request.plan_id)
    if answer is None:
        raise RuntimeError("the planner gave no answer to a preview")
    return _preview(customer, subject, answer)


def _preview(customer: str, subject: PreviewSubject, answer: Plan | Refusal) -> PlanPreview:
    plan = answer if isinstance(answer, Plan) else None
    refusal = answer if isinstance(answer, Refusal) else None
    return PlanPreview(customer, plan, refusal, subject.site, subject.profile, subject.observed_at)
