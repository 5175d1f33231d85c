"""The operation queue on PostgreSQL.

Owns turning commands and settlements into arrays, and rows into values. Refuses decisions: the statements hold the
queue's guarantees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter.adapters.db import statements as sql
from graph_adapter.adapters.db.rows import (
    LANE_NUMBERS,
    LANES,
    json_text,
    leased_operation,
)
from graph_adapter.adapters.db.tenants import TenantTable
from graph_adapter.domain.fairness import Backlog, Share
from graph_adapter.domain.operation import Command, LeasedOperation, Reply
from graph_adapter.domain.settlement import Checkpoint, Parked, Settlement
from graph_adapter.domain.views import Accepted, HandOver, OperationView, StoredReply
from graph_adapter.wire import Completed

TENANT_COUNT_MAX = 20_000
OPERATIONS_OF_A_TARGET_MAX = 10


class OperationTable:
    """Implements the port `Operations` on one transaction. `encode` makes a reply ready."""

    def __init__(self, tx: AsyncConnection, encode: Callable[[Reply], Completed]) -> None:
        self._tx = tx
        self._encode = encode

    async def room(self, tenant_ids: Sequence[str], now: datetime) -> Mapping[str, int]:
        rows = await self._tx.execute(sql.ROOM, {"tenant_ids": list(tenant_ids), "now": now})
        return {row.tenant_id: row.target_count for row in rows}

    async def accept(self, commands: Sequence[Command], now: datetime, handed: HandOver | None) -> Accepted:
        if not commands:
            return Accepted((), frozenset())
        leased = handed.operation_ids if handed is not None else frozenset()
        values = {
            "operation_ids": [command.operation_id for command in commands],
            "operations": [command.operation for command in commands],
            "versions": [command.version for command in commands],
            "tenant_ids": [command.tenant_id for command in commands],
            "targets": [command.target for command in commands],
            "params": [json_text(command.params) for command in commands],
            "deadlines": [command.deadline for command in commands],
            "reply_tos": [command.reply_to for command in commands],
            "plan_ids": [command.plan_id for command in commands],
            "lanes": [LANE_NUMBERS[command.lane] for command in commands],
            "credentials": [command.credential for command in commands],
            "traceparents": [command.traceparent for command in commands],
            "handed": [command.operation_id in leased for command in commands],
            "lease_id": handed.lease_id if handed is not None else None,
            "until": handed.lease_end if handed is not None else None,
            "now": now,
            "channel": sql.CHANNEL,
        }
        rows = (await self._tx.execute(sql.ACCEPT, values)).all()
        new = {row.operation_id: row.leased for row in rows}
        known = {command.operation_id: command for command in commands if command.operation_id not in new}
        done = await self._stored(known) if known else ()
        return Accepted(done, frozenset(key for key, is_leased in new.items() if is_leased))

    async def _stored(self, repeated: Mapping[UUID, Command]) -> Sequence[StoredReply]:
        # Who asks again may listen elsewhere by now: a release before or after the one that asked first.
        rows = await self._tx.execute(sql.STORED, {"operation_ids": list(repeated)})
        return [
            StoredReply(
                r.operation_id,
                r.plan_id,
                r.tenant_id,
                repeated[r.operation_id].reply_to,
                r.traceparent,
                r.reply.encode(),
            )
            for r in rows
        ]

    async def waiting(self, now: datetime) -> Sequence[Backlog]:
        rows = await self._tx.execute(sql.WAITING, {"now": now, "tenant_count_max": TENANT_COUNT_MAX})
        return [Backlog(row.tenant_id, row.lane == 0, (row.lane, row.received_at)) for row in rows]

    async def longest_wait_seconds(self, now: datetime) -> float:
        return float(
            (await self._tx.execute(sql.LONGEST_WAIT, {"now": now, "head_count_max": TENANT_COUNT_MAX})).scalar_one()
        )

    async def claim(self, tenant_ids: Sequence[str]) -> Mapping[str, int]:
        if not tenant_ids:
            return {}
        rows = await self._tx.execute(sql.CLAIM, {"tenant_ids": list(tenant_ids)})
        return {row.tenant_id: row.target_count for row in rows}

    async def lease(
        self, shares: Sequence[Share], lease_ids: Mapping[str, UUID], now: datetime, until: datetime
    ) -> Sequence[LeasedOperation]:
        if not shares:
            return []
        rows = await self._tx.execute(
            sql.LEASE,
            {
                "tenant_ids": [share.tenant_id for share in shares],
                "takes": [share.take for share in shares],
                "lease_ids": [lease_ids[share.tenant_id] for share in shares],
                "follow_max": OPERATIONS_OF_A_TARGET_MAX,
                "now": now,
                "until": until,
            },
        )
        return [leased_operation(row) for row in sorted(rows, key=lambda row: (row.lane, row.seq))]

    async def settle(self, settlement: Settlement, now: datetime) -> frozenset[UUID]:
        held: set[UUID] = set()
        lease = {"lease_id": settlement.lease_id}
        if settlement.replies:
            held.update(await self._written(sql.FINISH, lease | {"now": now} | self._endings(settlement.replies)))
        if settlement.parked:
            held.update(await self._written(sql.PARK, lease | _waits(settlement.parked)))
        if settlement.checkpoints:
            held.update(await self._written(sql.CHECKPOINT, lease | _memories(settlement.checkpoints)))
        tenants = TenantTable(self._tx)
        if settlement.pause is not None:
            await tenants.pause(settlement.tenant_id, settlement.pause)
        if settlement.roles is not None:
            await tenants.see_roles(settlement.tenant_id, settlement.roles, now)
        await tenants.remember_created(settlement.replies, now)
        return frozenset(held)

    async def recover(self, now: datetime) -> int:
        return int((await self._tx.execute(sql.RECOVER, {"now": now})).scalar_one())

    async def extend(
        self, operation_ids: Sequence[UUID], lease_ids: Sequence[UUID], due: datetime, until: datetime
    ) -> Sequence[UUID]:
        values = {"operation_ids": list(operation_ids), "lease_ids": list(lease_ids), "due": due, "until": until}
        return await self._written(sql.EXTEND, values)

    async def abandon(self, lease_id: UUID, operation_ids: Sequence[UUID], now: datetime) -> None:
        values = {"lease_id": lease_id, "operation_ids": list(operation_ids), "now": now}
        await self._tx.execute(sql.ABANDON, values)

    async def purge(self, before: datetime, count_max: int) -> int:
        return int((await self._tx.execute(sql.PURGE, {"before": before, "count_max": count_max})).scalar_one())

    async def page(
        self, *, tenant_id: str | None, state: str | None, before: int | None, limit: int
    ) -> Sequence[OperationView]:
        rows = await self._tx.execute(
            sql.PAGE, {"tenant_id": tenant_id, "state": state, "before": before, "limit": limit}
        )
        return [_view(row._mapping) for row in rows]

    async def get(self, operation_id: UUID) -> OperationView | None:
        row = (await self._tx.execute(sql.GET, {"operation_id": operation_id})).one_or_none()
        return _view(row._mapping) if row is not None else None

    async def _written(self, statement: Any, values: Mapping[str, Any]) -> Sequence[UUID]:
        return list((await self._tx.execute(statement, values)).scalars())

    def _endings(self, replies: Sequence[Reply]) -> dict[str, Any]:
        ready = [self._encode(reply) for reply in replies]
        return {
            "operation_ids": [reply.command.operation_id for reply in replies],
            "outcomes": [item.outcome for item in ready],
            "error_codes": [item.error_code for item in ready],
            "replies": [item.data.decode() for item in ready],
        }


def _waits(parked: Sequence[Parked]) -> dict[str, Any]:
    return {
        "operation_ids": [item.operation_id for item in parked],
        "not_befores": [item.not_before for item in parked],
        "progresses": [json_text(item.progress) if item.progress is not None else None for item in parked],
        "interrupteds": [item.interrupted for item in parked],
        "beguns": [item.begun for item in parked],
    }


def _memories(checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    return {
        "operation_ids": [item.operation_id for item in checkpoints],
        "progresses": [json_text(item.progress) for item in checkpoints],
    }


def _view(row: Mapping[Any, Any]) -> OperationView:
    values = dict(row) | {"lane": LANES[row["lane"]].value}
    for name in ("params", "reply"):
        if values.get(name) is not None:
            values[name] = orjson.loads(values[name])
    return OperationView(**values)
