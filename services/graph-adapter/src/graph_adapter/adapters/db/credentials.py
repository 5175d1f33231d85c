"""Credentials on PostgreSQL: sealed, by id, and which one is active for a tenant.

Owns that a switch of a tenant is one row. Refuses plain secrets: it stores what it is given, and it is given sealed
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter.domain.credential import Credential, CredentialKind

_COLUMNS = (
    "credential_id, tenant_id, customer, client_id, application_object_id, organization, cloud, kind, thumbprint, "
    "not_before, not_after"
)

_KEEP = text(f"""
INSERT INTO credential ({_COLUMNS}, sealed, delivered_at)
VALUES (:credential_id, :tenant_id, :customer, :client_id, :application_object_id, :organization, :cloud, :kind,
        :thumbprint, :not_before, :not_after, :sealed, :now)
ON CONFLICT (credential_id) DO UPDATE SET sealed = excluded.sealed, delivered_at = excluded.delivered_at
WHERE credential.tenant_id = excluded.tenant_id
""")

_ACTIVATE = text("""
WITH given AS (
    SELECT DISTINCT ON (g.tenant_id) g.tenant_id, g.credential_id
    FROM unnest(CAST(:tenant_ids AS text[]), CAST(:credential_ids AS uuid[])) WITH ORDINALITY
        AS g (tenant_id, credential_id, place)
    JOIN credential AS c ON c.credential_id = g.credential_id AND c.tenant_id = g.tenant_id
    ORDER BY g.tenant_id, g.place DESC
)
INSERT INTO tenant AS t (tenant_id, active_credential_id, activated_at)
SELECT tenant_id, credential_id, :now FROM given
ON CONFLICT (tenant_id) DO UPDATE
SET active_credential_id = excluded.active_credential_id, activated_at = excluded.activated_at, not_before = NULL,
    pause_reason = NULL
""")

_KNOWN = text("""
SELECT c.credential_id FROM credential AS c
JOIN unnest(CAST(:tenant_ids AS text[]), CAST(:credential_ids AS uuid[])) AS g (tenant_id, credential_id)
    ON c.credential_id = g.credential_id AND c.tenant_id = g.tenant_id
""")

_LOAD = text(f"SELECT {_COLUMNS}, sealed FROM credential WHERE credential_id = :credential_id")


class CredentialTable:
    """Implements the port `Credentials` on one transaction."""

    def __init__(self, tx: AsyncConnection) -> None:
        self._tx = tx

    async def keep(self, credentials: Sequence[tuple[Credential, bytes]], now: datetime) -> None:
        rows = [
            {name: getattr(credential, name) for name in Credential.__slots__}
            | {"kind": credential.kind.value, "sealed": sealed, "now": now}
            for credential, sealed in credentials
        ]
        if rows:
            await self._tx.execute(_KEEP, rows)

    async def activate(self, activations: Sequence[tuple[str, UUID]], now: datetime) -> frozenset[UUID]:
        values = {
            "tenant_ids": [tenant_id for tenant_id, _ in activations],
            "credential_ids": [credential_id for _, credential_id in activations],
        }
        known = frozenset((await self._tx.execute(_KNOWN, values)).scalars())
        await self._tx.execute(_ACTIVATE, values | {"now": now})
        return known

    async def load(self, credential_id: UUID) -> tuple[Credential, bytes] | None:
        row = (await self._tx.execute(_LOAD, {"credential_id": credential_id})).one_or_none()
        if row is None:
            return None
        values = dict(row._mapping)
        sealed = bytes(values.pop("sealed"))
        return Credential(**values | {"kind": CredentialKind(values["kind"])}), sealed
