"""The queue of operations in PostgreSQL. Every statement works on arrays.

Owns the SQL of table `operation`: who may be served next, who holds a lease, what is remembered. Refuses to decide what
happens to an operation.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from pwsh_gateway.adapters.db import operations_sql as sql
from pwsh_gateway.adapters.db.rows import dump, operation_of, problem_as_data, recent_of, reply_as_data, reply_of
from pwsh_gateway.domain.operations import LANES, Intent, Reply, Stream
from pwsh_gateway.domain.ports import Accepted, Finished, Requeued
from pwsh_gateway.domain.visits import Leased


class Operations:
    """`domain.ports.OperationQueue` on PostgreSQL."""

    async def add(self, tx: AsyncConnection, accepted: Sequence[Accepted], now: datetime) -> list[Reply]:
        """One statement for the whole batch; the stored replies of known and finished operations come back."""
        if not accepted:
            return []
        commands = [item.command for item in accepted]
        replies = [item.reply for item in accepted]
        rows = await tx.execute(
            sql.ADD,
            {
                "ids": [c.operation_id for c in commands],
                "operations": [c.operation for c in commands],
                "versions": [c.version for c in commands],
                "modules": [item.module for item in accepted],
                "tenants": [c.tenant_id for c in commands],
                "targets": [c.target for c in commands],
                "credentials": [c.credential for c in commands],
                "lanes": [LANES.index(c.lane) for c in commands],
                "params": [dump(item.params) for item in accepted],
                "deadlines": [c.deadline for c in commands],
                "reply_tos": [c.reply_to for c in commands],
                "plans": [c.plan_id for c in commands],
                "traceparents": [c.traceparent for c in commands],
                "states": ["queued" if reply is None else "done" for reply in replies],
                "outcomes": [reply.verdict.outcome if reply is not None else None for reply in replies],
                "replies": [dump(reply_as_data(reply)) if reply is not None else None for reply in replies],
                "now": now,
            },
        )
        # Who asks again may listen elsewhere by now: a release before or after the one that asked first.
        asked = {command.operation_id: command.reply_to for command in commands}
        stored = [reply_of(orjson.loads(row.reply)) for row in rows]
        return [replace(reply, reply_to=asked[reply.operation_id]) for reply in stored]

    async def lease(
        self,
        tx: AsyncConnection,
        *,
        owner: uuid.UUID,
        until: datetime,
        now: datetime,
        limit: int,
        closed: Sequence[Stream],
        after: Stream | None,
        operations_max: int,
        since: datetime,
    ) -> list[Leased]:
        """Round robin over streams: those behind `after` come first, so nobody is served twice before the others."""
        first = after or Stream("", "MicrosoftTeams", "")
        rows = await tx.execute(
            sql.LEASE,
            {
                "owner": owner,
                "until": until,
                "now": now,
                "limit": limit,
                "lanes": list(range(len(LANES))),
                "streams_max": sql.STREAMS_MAX,
                "operations_max": operations_max,
                "since": since,
                "closed": [_stream_key(stream) for stream in closed],
                "after_tenant": first.tenant_id,
                "after_module": first.module if after is not None else "",
                "after_credential": first.credential,
            },
        )
        return [
            Leased(operation_of(row), row.credential_id, row.customer or row.tenant_id, recent_of(row)) for row in rows
        ]

    async def renew(
        self, tx: AsyncConnection, *, owner: uuid.UUID, ids: Collection[uuid.UUID], until: datetime
    ) -> set[uuid.UUID]:
        if not ids:
            return set()
        await self.hold(tx, owner, ids)
        rows = await tx.execute(sql.RENEW, {"owner": owner, "ids": list(ids), "until": until})
        return {row.operation_id for row in rows}

    async def hold(self, tx: AsyncConnection, owner: uuid.UUID, ids: Collection[uuid.UUID]) -> None:
        await tx.execute(sql.HOLD, {"owner": owner, "ids": list(ids)})

    async def reclaim(self, tx: AsyncConnection, now: datetime) -> int:
        result = await tx.execute(sql.RECLAIM, {"now": now})
        return len(result.all())

    async def record_intents(
        self, tx: AsyncConnection, owner: uuid.UUID, intents: Mapping[uuid.UUID, Intent]
    ) -> set[uuid.UUID]:
        ids = list(intents)
        await self.hold(tx, owner, ids)
        values = {"owner": owner, "ids": ids, "intents": [dump(dict(intents[key].former)) for key in ids]}
        return {row.operation_id for row in await tx.execute(sql.RECORD_INTENTS, values)}

    async def finish(self, tx: AsyncConnection, owner: uuid.UUID, finished: Sequence[Finished]) -> set[uuid.UUID]:
        if not finished:
            return set()
        values = {
            "owner": owner,
            "ids": [item.operation.operation_id for item in finished],
            "outcomes": [item.reply.verdict.outcome for item in finished],
            "replies": [dump(reply_as_data(item.reply)) for item in finished],
            "written": [dump(dict(item.written)) if item.written else None for item in finished],
            "finished_at": [item.reply.finished_at for item in finished],
        }
        return {row.operation_id for row in await tx.execute(sql.FINISH, values)}

    async def give_back(self, tx: AsyncConnection, owner: uuid.UUID, returned: Sequence[Requeued]) -> None:
        if not returned:
            return
        problems = [dump(problem_as_data(item.problem)) if item.problem is not None else None for item in returned]
        await tx.execute(
            sql.GIVE_BACK,
            {
                "owner": owner,
                "ids": [item.operation.operation_id for item in returned],
                "not_before": [item.not_before for item in returned],
                "problems": problems,
                "keep": [item.keep_intent for item in returned],
                "attempted": [1 if item.attempted else 0 for item in returned],
            },
        )

    async def hasten(self, tx: AsyncConnection, tenant_id: str, now: datetime) -> None:
        await tx.execute(sql.HASTEN, {"tenant": tenant_id, "now": now})

    async def forget(self, tx: AsyncConnection, finished_before: datetime, limit: int) -> int:
        result = await tx.execute(sql.FORGET, {"before": finished_before, "limit": limit})
        return len(result.all())

    async def depth(self, tx: AsyncConnection, now: datetime) -> tuple[int, float]:
        """Operations not yet served, counted up to a bound, and the age of the oldest in seconds."""
        row = (await tx.execute(sql.DEPTH, {"now": now, "count_max": sql.DEPTH_COUNT_MAX})).one()
        return row.waiting, float(row.oldest_seconds)


def _stream_key(stream: Stream) -> str:
    return f"{stream.tenant_id}/{stream.module}/{stream.credential}"
