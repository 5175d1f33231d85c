"""Rows as values, and the mapping between lanes and their numbers.

Owns parsing of JSON columns (text queries return them as text). Refuses SQL.
"""

from __future__ import annotations

from typing import Any

import orjson

from graph_adapter.domain.operation import Command, Lane, LeasedOperation

LANE_NUMBERS = {Lane.URGENT: 0, Lane.NORMAL: 1, Lane.BULK: 2}
LANES = {number: lane for lane, number in LANE_NUMBERS.items()}


def leased_operation(row: Any) -> LeasedOperation:
    """From the columns of the lease statement."""
    command = Command(
        operation_id=row.operation_id,
        operation=row.operation,
        version=row.version,
        tenant_id=row.tenant_id,
        target=row.target,
        params=orjson.loads(row.params),
        deadline=row.deadline,
        reply_to=row.reply_to,
        plan_id=row.plan_id,
        lane=LANES[row.lane],
        credential=row.credential,
        traceparent=row.traceparent,
    )
    progress = orjson.loads(row.progress) if row.progress is not None else None
    return LeasedOperation(command, row.attempts, row.started_at, progress, row.interrupted, row.interruptions)


def json_text(value: Any) -> str:
    """JSON as the database takes it."""
    return orjson.dumps(value).decode()
