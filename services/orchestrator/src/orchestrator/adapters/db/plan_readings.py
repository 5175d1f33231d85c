"""Plans as lists and details for people: reads without locks, pages by key.

Owns which index answers which filter; a page costs the same wherever it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db.plan_rows import operation_of, plan_of
from orchestrator.adapters.db.plan_sql import OPERATION_COLUMNS, PLAN_COLUMNS
from orchestrator.domain.plan_ports import PlanFilter, PlanSummary
from orchestrator.domain.plan_status import OperationStatus

_CONDITIONS = {
    "customer": "customer = :customer",
    "state": "state = :state",
    "employee_id": "employee_id = :employee_id",
    "after": "plan_id < :after",
    "plan_id": "plan_id = :plan_id",
}
_OPERATIONS = text(f"SELECT {OPERATION_COLUMNS} FROM operation WHERE plan_id = :plan_id ORDER BY round, position")


class DatabasePlanReadings:
    """Reads plan and operation. Holds no state."""

    async def page(
        self, tx: AsyncConnection, wanted: PlanFilter, after: UUID | None, count_max: int
    ) -> list[PlanSummary]:
        """Newest first."""
        given = {
            "customer": wanted.customer,
            "state": None if wanted.state is None else wanted.state.value,
            "employee_id": wanted.employee_id,
            "after": after,
        }
        return await _summaries(tx, {name: value for name, value in given.items() if value is not None}, count_max)

    async def one(self, tx: AsyncConnection, plan_id: UUID) -> PlanSummary | None:
        """None when there is no such plan."""
        found = await _summaries(tx, {"plan_id": plan_id}, 1)
        return found[0] if found else None

    async def operations(self, tx: AsyncConnection, plan_id: UUID) -> list[OperationStatus]:
        """Empty for an unknown plan and for one that was refused before it observed."""
        return [operation_of(tuple(row)) for row in await tx.execute(_OPERATIONS, {"plan_id": plan_id})]


async def _summaries(tx: AsyncConnection, given: Mapping[str, Any], count_max: int) -> list[PlanSummary]:
    rows: Sequence[Any] = (await tx.execute(_statement(frozenset(given)), {**given, "count_max": count_max})).all()
    return [PlanSummary(plan_of(tuple(row)[:-3]), *tuple(row)[-3:]) for row in rows]


def _statement(given: frozenset[str]) -> TextClause:
    where = " AND ".join(condition for name, condition in _CONDITIONS.items() if name in given) or "true"
    return text(f"""
        SELECT p.*, o.total, o.succeeded, o.failed
        FROM (SELECT {PLAN_COLUMNS} FROM plan WHERE {where} ORDER BY plan_id DESC LIMIT :count_max) AS p,
        LATERAL (
            SELECT count(*) AS total,
                   count(*) FILTER (WHERE operation.state = 'succeeded') AS succeeded,
                   count(*) FILTER (WHERE operation.state IN ('failed', 'refused')) AS failed
            FROM operation WHERE operation.plan_id = p.plan_id AND operation.round = p.round
        ) AS o
        ORDER BY p.plan_id DESC
    """)
