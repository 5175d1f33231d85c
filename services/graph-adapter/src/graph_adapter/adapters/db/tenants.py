"""Tenants on PostgreSQL: pauses, permissions seen, and the directory objects we made.

Owns that a pause only grows. Refuses to forget an active credential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter.domain.operation import Reply
from graph_adapter.domain.progress import Created
from graph_adapter.domain.settlement import TenantPause
from graph_adapter.domain.views import TenantView

_GET = text("""
SELECT tenant_id, active_credential_id, roles, roles_seen_at, not_before FROM tenant
WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))
""")

_PAUSE = text("""
INSERT INTO tenant AS t (tenant_id, not_before, pause_reason) VALUES (:tenant_id, :until, :reason)
ON CONFLICT (tenant_id) DO UPDATE SET not_before = excluded.not_before, pause_reason = excluded.pause_reason
WHERE t.not_before IS NULL OR t.not_before < excluded.not_before
""")

_ROLES = text("""
INSERT INTO tenant AS t (tenant_id, roles, roles_seen_at) VALUES (:tenant_id, CAST(:roles AS text[]), :now)
ON CONFLICT (tenant_id) DO UPDATE SET roles = excluded.roles, roles_seen_at = excluded.roles_seen_at
""")

_CREATED = text("""
SELECT object_id, operation_id::text AS operation_id, created_at FROM created_object
WHERE tenant_id = :tenant_id AND object_id = ANY (CAST(:object_ids AS text[]))
""")

_REMEMBER = text("""
INSERT INTO created_object (tenant_id, object_id, operation_id, created_at)
SELECT DISTINCT ON (c.tenant_id, c.object_id) c.tenant_id, c.object_id, c.operation_id, CAST(:now AS timestamptz)
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:object_ids AS text[]), CAST(:operation_ids AS uuid[]))
    AS c (tenant_id, object_id, operation_id)
ON CONFLICT (tenant_id, object_id) DO UPDATE
SET operation_id = excluded.operation_id, created_at = excluded.created_at
""")


class TenantTable:
    """Implements the port `Tenants` on one transaction."""

    def __init__(self, tx: AsyncConnection) -> None:
        self._tx = tx

    async def get(self, tenant_ids: Sequence[str]) -> Mapping[str, TenantView]:
        rows = await self._tx.execute(_GET, {"tenant_ids": list(tenant_ids)})
        return {
            row.tenant_id: TenantView(
                row.tenant_id,
                row.active_credential_id,
                frozenset(row.roles) if row.roles is not None else None,
                row.roles_seen_at,
                row.not_before,
            )
            for row in rows
        }

    async def created(self, tenant_id: str, object_ids: Sequence[str]) -> Mapping[str, Created]:
        rows = await self._tx.execute(_CREATED, {"tenant_id": tenant_id, "object_ids": list(object_ids)})
        return {row.object_id: Created(row.operation_id, row.created_at) for row in rows}

    async def pause(self, tenant_id: str, pause: TenantPause) -> None:
        """Nothing of the tenant is leased before `pause.until`; a longer pause stays."""
        values = {"tenant_id": tenant_id, "until": pause.until, "reason": pause.reason[:200]}
        await self._tx.execute(_PAUSE, values)

    async def see_roles(self, tenant_id: str, roles: frozenset[str], now: datetime) -> None:
        """The permissions in a fresh token of the active credential."""
        await self._tx.execute(_ROLES, {"tenant_id": tenant_id, "roles": sorted(roles), "now": now})

    async def remember_created(self, replies: Sequence[Reply], now: datetime) -> None:
        """The directory objects that these operations made."""
        made = [(reply.command, name) for reply in replies for name in reply.result.created]
        if made:
            values = {
                "tenant_ids": [command.tenant_id for command, _ in made],
                "object_ids": [name for _, name in made],
                "operation_ids": [command.operation_id for command, _ in made],
                "now": now,
            }
            await self._tx.execute(_REMEMBER, values)
