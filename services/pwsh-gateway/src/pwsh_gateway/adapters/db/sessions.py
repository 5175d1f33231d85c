"""Sessions, replicas and the execution log in PostgreSQL.

Owns the SQL of tables `session`, `gateway_instance` and `execution`. Refuses unbounded lists: pages go by key,
newest first.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from pwsh_gateway.adapters.db.rows import dump
from pwsh_gateway.domain.ports import StoredSession
from pwsh_gateway.domain.sessions import Execution, SessionKey, SessionRecord

_SAVE = text("""
INSERT INTO session (
    session_id, instance, tenant_id, customer, module, credential_id, canary, state, pid, module_version, reason, error,
    executions, memory_bytes, operation_id, started_at, connected_at, last_used_at, ended_at
)
SELECT g.session_id, CAST(:instance AS uuid), g.tenant_id, g.customer, g.module, g.credential_id, g.canary,
g.state, g.pid,
       g.module_version, g.reason, g.error, g.executions, g.memory_bytes, g.operation_id, g.started_at, g.connected_at,
       g.last_used_at, g.ended_at
FROM unnest(
    CAST(:ids AS uuid[]), CAST(:tenants AS text[]), CAST(:customers AS text[]), CAST(:modules AS text[]),
    CAST(:credentials AS uuid[]), CAST(:canaries AS boolean[]), CAST(:states AS text[]), CAST(:pids AS integer[]),
    CAST(:versions AS text[]), CAST(:reasons AS text[]), CAST(:errors AS text[]), CAST(:executions AS integer[]),
    CAST(:memory AS bigint[]), CAST(:operations AS uuid[]), CAST(:started AS timestamptz[]),
    CAST(:connected AS timestamptz[]), CAST(:used AS timestamptz[]), CAST(:ended AS timestamptz[])
) AS g (
    session_id, tenant_id, customer, module, credential_id, canary, state, pid, module_version, reason, error,
    executions,
    memory_bytes, operation_id, started_at, connected_at, last_used_at, ended_at
)
ON CONFLICT (session_id) DO UPDATE SET
    state = excluded.state, pid = excluded.pid, module_version = excluded.module_version, reason = excluded.reason,
    error = excluded.error, executions = excluded.executions, memory_bytes = excluded.memory_bytes,
    operation_id = excluded.operation_id, connected_at = excluded.connected_at, last_used_at = excluded.last_used_at,
    ended_at = excluded.ended_at
WHERE session.state <> 'dead'
""")
"""Two writers may commit in the other order; death is the last word whichever comes second."""

_PAGE = text("""
SELECT * FROM session
WHERE (CAST(:tenant AS text) IS NULL OR tenant_id = :tenant) AND (CAST(:module AS text) IS NULL OR module = :module)
  AND CASE WHEN CAST(:state AS text) IS NULL THEN state <> 'dead' ELSE CAST(:state AS text) IN ('all', state) END
  AND (CAST(:after AS uuid) IS NULL OR session_id < :after)
ORDER BY session_id DESC LIMIT :limit
""")

_GET = text("SELECT * FROM session WHERE session_id = :id")

_ASK = text("""
UPDATE session SET terminate_by = coalesce(terminate_by, :actor)
WHERE session_id = :id AND state <> 'dead' RETURNING session_id
""")

_ASKED = text("""
SELECT session_id, terminate_by FROM session
WHERE instance = :instance AND state <> 'dead' AND terminate_by IS NOT NULL
""")

_SEEN = text("""
INSERT INTO gateway_instance (instance, host, seen_at) VALUES (:instance, :host, :now)
ON CONFLICT (instance) DO UPDATE SET seen_at = excluded.seen_at
""")

_BURY = text("""
WITH gone AS (
    DELETE FROM gateway_instance WHERE seen_at < :since RETURNING instance
)
UPDATE session AS s SET state = 'dead', reason = 'gateway-lost', ended_at = :now, operation_id = NULL
FROM gone WHERE s.instance = gone.instance AND s.state <> 'dead'
RETURNING s.*
""")

_FORGET = text("""
DELETE FROM session WHERE session_id IN (
    SELECT session_id FROM session WHERE state = 'dead' AND ended_at < :before LIMIT :limit
) RETURNING session_id
""")

_ADD_EXECUTIONS = text("""
INSERT INTO execution (
    execution_id, session_id, operation_id, tenant_id, cmdlet, params, outcome, error, warnings, attempt, started_at,
    duration_ms, trace_id
)
SELECT g.execution_id, g.session_id, g.operation_id, g.tenant_id, g.cmdlet, g.params::jsonb, g.outcome, g.error::jsonb,
       g.warnings::jsonb, g.attempt, g.started_at, g.duration_ms, g.trace_id
FROM unnest(
    CAST(:ids AS uuid[]), CAST(:sessions AS uuid[]), CAST(:operations AS uuid[]), CAST(:tenants AS text[]),
    CAST(:cmdlets AS text[]), CAST(:params AS text[]), CAST(:outcomes AS text[]), CAST(:errors AS text[]),
    CAST(:warnings AS text[]), CAST(:attempts AS integer[]), CAST(:started AS timestamptz[]),
    CAST(:durations AS integer[]), CAST(:traces AS text[])
) AS g (
    execution_id, session_id, operation_id, tenant_id, cmdlet, params, outcome, error, warnings, attempt, started_at,
    duration_ms, trace_id
)
ON CONFLICT (execution_id) DO NOTHING
""")

_EXECUTIONS = text("""
SELECT execution_id, session_id, operation_id, tenant_id, cmdlet, params::text AS params, outcome, error::text AS error,
       warnings::text AS warnings, attempt, started_at, duration_ms, trace_id
FROM execution
WHERE (CAST(:session AS uuid) IS NULL OR session_id = :session)
  AND (CAST(:operation AS uuid) IS NULL OR operation_id = :operation)
  AND (CAST(:after AS uuid) IS NULL OR execution_id < :after)
  AND (CAST(:id AS uuid) IS NULL OR execution_id = :id)
ORDER BY execution_id DESC LIMIT :limit
""")

_FORGET_EXECUTIONS = text("""
DELETE FROM execution WHERE execution_id IN (
    SELECT execution_id FROM execution WHERE started_at < :before LIMIT :limit
) RETURNING execution_id
""")


class Sessions:
    """`domain.ports.SessionStore` on PostgreSQL."""

    async def save(self, tx: AsyncConnection, instance: uuid.UUID, records: Sequence[SessionRecord]) -> None:
        if not records:
            return
        values: dict[str, Any] = {
            "instance": instance,
            "ids": [r.session_id for r in records],
            "tenants": [r.key.tenant_id for r in records],
            "customers": [r.customer for r in records],
            "modules": [r.key.module for r in records],
            "credentials": [r.key.credential_id for r in records],
            "canaries": [r.canary for r in records],
            "states": [r.state for r in records],
            "pids": [r.pid for r in records],
            "versions": [r.module_version for r in records],
            "reasons": [r.reason for r in records],
            "errors": [r.error.replace("\0", "") if r.error else None for r in records],
            "executions": [r.executions for r in records],
            "memory": [r.memory_bytes for r in records],
            "operations": [r.operation_id for r in records],
            "started": [r.started_at for r in records],
            "connected": [r.connected_at for r in records],
            "used": [r.last_used_at for r in records],
            "ended": [r.ended_at for r in records],
        }
        await tx.execute(_SAVE, values)

    async def page(
        self,
        tx: AsyncConnection,
        *,
        tenant_id: str | None,
        module: str | None,
        state: str | None,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[StoredSession]:
        values = {"tenant": tenant_id, "module": module, "state": state, "after": after, "limit": limit}
        return [_stored(row) for row in await tx.execute(_PAGE, values)]

    async def get(self, tx: AsyncConnection, session_id: uuid.UUID) -> StoredSession | None:
        row = (await tx.execute(_GET, {"id": session_id})).one_or_none()
        return _stored(row) if row is not None else None

    async def ask_to_terminate(self, tx: AsyncConnection, session_id: uuid.UUID, actor: str) -> bool:
        return (await tx.execute(_ASK, {"id": session_id, "actor": actor})).one_or_none() is not None

    async def asked_to_terminate(self, tx: AsyncConnection, instance: uuid.UUID) -> list[tuple[uuid.UUID, str]]:
        return [(row.session_id, row.terminate_by) for row in await tx.execute(_ASKED, {"instance": instance})]

    async def seen(self, tx: AsyncConnection, instance: uuid.UUID, host: str, now: datetime) -> None:
        await tx.execute(_SEEN, {"instance": instance, "host": host, "now": now})

    async def bury(self, tx: AsyncConnection, *, unseen_since: datetime, now: datetime) -> list[SessionRecord]:
        return [_record(row) for row in await tx.execute(_BURY, {"since": unseen_since, "now": now})]

    async def forget(self, tx: AsyncConnection, ended_before: datetime, limit: int) -> int:
        return len((await tx.execute(_FORGET, {"before": ended_before, "limit": limit})).all())


class Executions:
    """`domain.ports.ExecutionLog` on PostgreSQL."""

    async def add(self, tx: AsyncConnection, executions: Sequence[Execution]) -> None:
        if not executions:
            return
        values: dict[str, Any] = {
            "ids": [e.execution_id for e in executions],
            "sessions": [e.session_id for e in executions],
            "operations": [e.operation_id for e in executions],
            "tenants": [e.tenant_id for e in executions],
            "cmdlets": [e.cmdlet for e in executions],
            "params": [dump(dict(e.params)) for e in executions],
            "outcomes": [e.outcome for e in executions],
            "errors": [dump(dict(e.error)) if e.error is not None else None for e in executions],
            "warnings": [dump(list(e.warnings)) for e in executions],
            "attempts": [e.attempt for e in executions],
            "started": [e.started_at for e in executions],
            "durations": [e.duration_ms for e in executions],
            "traces": [e.trace_id for e in executions],
        }
        await tx.execute(_ADD_EXECUTIONS, values)

    async def page(
        self,
        tx: AsyncConnection,
        *,
        session_id: uuid.UUID | None,
        operation_id: uuid.UUID | None,
        after: uuid.UUID | None,
        limit: int,
    ) -> list[Execution]:
        values = {"session": session_id, "operation": operation_id, "after": after, "id": None, "limit": limit}
        return [_execution(row) for row in await tx.execute(_EXECUTIONS, values)]

    async def get(self, tx: AsyncConnection, execution_id: uuid.UUID) -> Execution | None:
        values = {"session": None, "operation": None, "after": None, "id": execution_id, "limit": 1}
        row = (await tx.execute(_EXECUTIONS, values)).one_or_none()
        return _execution(row) if row is not None else None

    async def forget(self, tx: AsyncConnection, started_before: datetime, limit: int) -> int:
        return len((await tx.execute(_FORGET_EXECUTIONS, {"before": started_before, "limit": limit})).all())


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        session_id=row.session_id,
        key=SessionKey(row.tenant_id, row.module, row.credential_id),
        customer=row.customer,
        canary=row.canary,
        state=row.state,
        pid=row.pid,
        module_version=row.module_version,
        reason=row.reason,
        error=row.error,
        executions=row.executions,
        memory_bytes=row.memory_bytes,
        operation_id=row.operation_id,
        started_at=row.started_at,
        connected_at=row.connected_at,
        last_used_at=row.last_used_at,
        ended_at=row.ended_at,
    )


def _stored(row: Row[Any]) -> StoredSession:
    return StoredSession(_record(row), row.instance, row.terminate_by)


def _execution(row: Row[Any]) -> Execution:
    return Execution(
        execution_id=row.execution_id,
        session_id=row.session_id,
        operation_id=row.operation_id,
        tenant_id=row.tenant_id,
        cmdlet=row.cmdlet,
        params=orjson.loads(row.params),
        outcome=cast(Any, row.outcome),
        error=orjson.loads(row.error) if row.error is not None else None,
        warnings=tuple(orjson.loads(row.warnings)),
        attempt=row.attempt,
        started_at=row.started_at,
        duration_ms=row.duration_ms,
        trace_id=row.trace_id,
    )
