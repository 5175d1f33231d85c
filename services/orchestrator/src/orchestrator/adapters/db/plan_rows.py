"""Tables plan, operation and gate_lag as the plan engine's rows.

Owns the translation between rows and working copies, and the alarm that tells the timer workers of an earlier due time.
JSON columns are handed on as text; the engine reads them when it needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db import plan_sql as sql
from orchestrator.adapters.db.recent_plans import RECENT_PLANS_MAX, RecentPlans
from orchestrator.domain.plan import PLAN_ENDS, OperationState, PlanState, Reason
from orchestrator.domain.plan_ports import LoadedPlan, SavedPlan
from orchestrator.domain.plan_status import OperationStatus, PlanStatus, operation_to_json
from orchestrator.domain.retry import LAG_WEIGHT

TIMER_CHANNEL = "ucmesh_plan_timers"

_PLAN_STATES = {state.value: state for state in PlanState}
_OPERATION_STATES = {state.value: state for state in OperationState}
_make_plan: Callable[..., PlanStatus] = PlanStatus
_make_operation: Callable[..., OperationStatus] = OperationStatus


class DatabasePlanRows:
    """The engine's rows in PostgreSQL. `recent_max` plans are kept as they were last seen, each proven before use."""

    def __init__(self, recent_max: int = RECENT_PLANS_MAX) -> None:
        self._recent = RecentPlans(recent_max)

    async def load(self, tx: AsyncConnection, plan_ids: Collection[UUID]) -> list[LoadedPlan]:
        """Plans locked in the order of their ids, then their operations."""
        rows = (await tx.execute(sql.LOCK_PLANS, {"plan_ids": sorted(plan_ids)})).all()
        return await self._with_operations(tx, rows)

    async def claim_due(self, tx: AsyncConnection, now: datetime, count_max: int) -> list[LoadedPlan]:
        """The longest overdue plans that nobody else holds."""
        rows = (await tx.execute(sql.CLAIM_DUE, {"now": now, "count_max": count_max})).all()
        return await self._with_operations(tx, rows)

    async def save(self, tx: AsyncConnection, plans: Sequence[SavedPlan]) -> None:
        """New plans, plans, new operations, changed operations: one statement each, none for nothing."""
        new = [each.plan for each in plans if each.new]
        moved = [each.plan for each in plans if each.plan_changed and not each.new]
        added = [row for each in plans for row in each.added]
        changed = [row for each in plans for row in each.changed]
        if new:
            await tx.execute(sql.INSERT_PLANS, _columns(new, _PLAN_COLUMNS))
        if moved:
            await tx.execute(sql.UPDATE_PLANS, _columns(moved, _PLAN_UPDATES))
        if added:
            await tx.execute(sql.INSERT_OPERATIONS, _columns(added, _OPERATION_COLUMNS))
        if changed:
            await tx.execute(sql.UPDATE_OPERATIONS, _columns(changed, _OPERATION_UPDATES))
        version = await _alarm(tx, [*new, *moved])
        if added or changed:
            self._remember(plans, (await tx.execute(sql.THIS_TRANSACTION)).scalar_one() if version is None else version)

    async def lags(self, tx: AsyncConnection, tenant_ids: Collection[str]) -> Mapping[str, Mapping[str, float]]:
        """Means by tenant and gate."""
        found: dict[str, dict[str, float]] = {}
        for row in await tx.execute(sql.LAGS, {"tenant_ids": list(tenant_ids)}):
            found.setdefault(row.tenant_id, {})[row.gate] = row.mean_seconds
        return found

    async def learn(self, tx: AsyncConnection, measured: Mapping[tuple[str, str], float], now: datetime) -> None:
        """One upsert, in the order of the keys."""
        keys = sorted(measured)
        await tx.execute(
            sql.LEARN,
            {
                "tenant_ids": [tenant_id for tenant_id, _ in keys],
                "gates": [gate for _, gate in keys],
                "seconds": [measured[key] for key in keys],
                "weight": LAG_WEIGHT,
                "now": now,
            },
        )

    async def wake(self, tx: AsyncConnection, subjects: Collection[str], now: datetime) -> None:
        """Wakes the timers too, when anything was asleep."""
        woken = (await tx.execute(sql.WAKE, {"subjects": sorted(subjects), "now": now})).scalars().all()
        for plan_id in woken:
            self._recent.forget(plan_id)
        if woken:
            await tx.execute(sql.ALARM, {"channel": TIMER_CHANNEL, "due_at": now.isoformat()})

    async def next_due(self, tx: AsyncConnection) -> datetime | None:
        """From the head of the partial index."""
        due: datetime | None = (await tx.execute(sql.NEXT_DUE)).scalar_one()
        return due

    async def postpone(self, tx: AsyncConnection, plan_id: UUID, due_at: datetime) -> None:
        """Nothing for a plan that ended meanwhile."""
        await tx.execute(sql.POSTPONE, {"plan_id": plan_id, "due_at": due_at})

    async def _with_operations(self, tx: AsyncConnection, plans: Sequence[Row[Any]]) -> list[LoadedPlan]:
        operations = await self._unchanged(tx, [row.plan_id for row in plans if row.plan_id in self._recent])
        unseen = [row.plan_id for row in plans if row.plan_id not in operations]
        if unseen:
            operations |= await self._read(tx, unseen)
        return [LoadedPlan(plan_of(row), operations[row.plan_id]) for row in plans]

    async def _unchanged(self, tx: AsyncConnection, plan_ids: Sequence[UUID]) -> dict[UUID, Sequence[OperationStatus]]:
        """Operations that were seen before and are still as they were."""
        if not plan_ids:
            return {}
        rows = await tx.execute(sql.OPERATION_VERSIONS, {"plan_ids": plan_ids})
        seen = {plan_id: self._recent.get(plan_id, versions) for plan_id, versions in rows}
        return {plan_id: operations for plan_id, operations in seen.items() if operations is not None}

    async def _read(self, tx: AsyncConnection, plan_ids: Sequence[UUID]) -> dict[UUID, Sequence[OperationStatus]]:
        operations: dict[UUID, list[OperationStatus]] = {plan_id: [] for plan_id in plan_ids}
        versions: dict[UUID, list[int]] = {plan_id: [] for plan_id in plan_ids}
        for version, *row in await tx.execute(sql.LOAD_OPERATIONS, {"plan_ids": plan_ids}):
            operation = operation_of(row)
            operations[operation.plan_id].append(operation)
            versions[operation.plan_id].append(version)
        for plan_id in plan_ids:
            self._recent.keep(plan_id, operations[plan_id], versions[plan_id])
        return dict(operations)

    def _remember(self, plans: Sequence[SavedPlan], version: int) -> None:
        """What a plan that goes on is now, for the next step of it."""
        for each in plans:
            if each.plan.state in PLAN_ENDS:
                self._recent.forget(each.plan.plan_id)
            else:
                self._recent.written(each.plan.plan_id, each.operations, version)


def plan_of(row: Sequence[Any]) -> PlanStatus:
    """A plan from PLAN_COLUMNS."""
    # The columns are selected in the order of the fields; by position is twice as fast as by name.
    plan: PlanStatus = _make_plan(*row)
    plan.state = _PLAN_STATES[plan.state]
    plan.cause, plan.reason = _reason(plan.cause), _reason(plan.reason)
    return plan


def operation_of(row: Sequence[Any]) -> OperationStatus:
    """An operation from OPERATION_COLUMNS."""
    operation: OperationStatus = _make_operation(*row)
    operation.state = _OPERATION_STATES[operation.state]
    operation.depends_on = tuple(operation.depends_on)
    operation.request_ids = tuple(operation.request_ids)
    return operation


def _reason(text: Any) -> Reason | None:
    return None if text is None else Reason(**orjson.loads(text))


async def _alarm(tx: AsyncConnection, plans: Sequence[PlanStatus]) -> int | None:
    """The version of what this transaction writes, when there was something to sound the alarm for."""
    due = min((plan.due_at for plan in plans if plan.due_at is not None), default=None)
    if due is None:
        return None
    version: int = (await tx.execute(sql.ALARM, {"channel": TIMER_CHANNEL, "due_at": due.isoformat()})).scalar_one()
    return version


def _columns(rows: Sequence[Any], columns: Mapping[str, Callable[[Any], Any]]) -> dict[str, list[Any]]:
    return {name: list(map(read, rows)) for name, read in columns.items()}


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _reason_json(reason: Reason | None) -> str | None:
    return None if reason is None else orjson.dumps(asdict(reason)).decode()


def _lines(values: Sequence[str]) -> str:
    return "\n".join(values)


def _fields(*names: str) -> dict[str, Callable[[Any], Any]]:
    """Columns that hold what the field of their name holds; a state is text as it is."""
    return {name: attrgetter(name) for name in names}


_PLAN_UPDATES: dict[str, Callable[[PlanStatus], Any]] = {
    **_fields("plan_id", "tenant_id", "state", "round", "goal", "not_before", "due_at", "finished_at"),
    "cause": lambda plan: _reason_json(plan.cause),
    "reason": lambda plan: _reason_json(plan.reason),
    "effects": lambda plan: _json(plan.effects),
}
_PLAN_COLUMNS: dict[str, Callable[[PlanStatus], Any]] = {
    **_PLAN_UPDATES,
    **_fields("person_id", "customer", "employee_id", "kind", "lane", "created_at", "traceparent"),
}
_OPERATION_UPDATES: dict[str, Callable[[OperationStatus], Any]] = {
    **_fields("id", "state", "attempt", "undo_from", "nudges", "operation_id", "in_flight", "changed"),
    **_fields("due_at", "ready_at", "finished_at"),
    "output": lambda row: _json(row.output),
    "undo": lambda row: _json(row.undo),
    "error": lambda row: _json(row.error),
    "request_ids": lambda row: _lines(row.request_ids),
}
_OPERATION_COLUMNS: dict[str, Callable[[OperationStatus], Any]] = {
    **_OPERATION_UPDATES,
    **_fields("plan_id", "round", "position", "key", "target", "failure"),
    "depends_on": lambda row: _lines(row.depends_on),
    "subject": lambda row: row.spec.subject,
    "definition": lambda row: row.definition if isinstance(row.definition, str) else operation_to_json(row.definition),
}
