"""Delivered credentials in PostgreSQL, sealed at rest.

Owns table `credential` and the sealing around it. Refuses to store a secret in the clear or to show one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.resealing import SealedColumn
from mesh_runtime.sealing import Sealer
from pwsh_gateway.domain.sessions import Credential, CredentialFacts

_ADD = text("""
INSERT INTO credential (
    credential_id, tenant_id, customer, client_id, organization, cloud, thumbprint, not_before, not_after, sealed,
    state,
    delivered_at
) VALUES (
    :credential_id, :tenant_id, :customer, :client_id, :organization, :cloud, :thumbprint, :not_before, :not_after,
    :sealed,
    'delivered', :now
) ON CONFLICT (credential_id) DO UPDATE SET
    customer = excluded.customer, organization = excluded.organization, sealed = excluded.sealed
""")

_SUPERSEDE = text("""
UPDATE credential SET state = 'superseded'
WHERE tenant_id = :tenant AND state = 'active' AND credential_id <> :id
  AND EXISTS (SELECT 1 FROM credential WHERE credential_id = :id AND tenant_id = :tenant)
""")

_ACTIVATE = text("""
UPDATE credential SET state = 'active', activated_at = :now
WHERE credential_id = :id AND tenant_id = :tenant RETURNING credential_id
""")

_DROP = text("DELETE FROM credential WHERE credential_id = :id AND tenant_id = :tenant AND state <> 'active'")

_OPEN = text("SELECT * FROM credential WHERE credential_id = :id")

_ACTIVE = text("""
SELECT tenant_id, credential_id FROM credential WHERE state = 'active' AND tenant_id = ANY (CAST(:tenants AS text[]))
""")

_FACTS = text("SELECT * FROM credential WHERE tenant_id = :tenant ORDER BY delivered_at DESC LIMIT 50")


class Credentials:
    """`domain.ports.CredentialStore` on PostgreSQL."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def add(self, tx: AsyncConnection, credential: Credential, now: datetime) -> None:
        facts = credential.facts
        secret = orjson.dumps({"pfx": credential.pfx, "password": credential.password})
        values = {
            "credential_id": facts.credential_id,
            "tenant_id": facts.tenant_id,
            "customer": facts.customer,
            "client_id": facts.client_id,
            "organization": facts.organization,
            "cloud": facts.cloud,
            "thumbprint": facts.thumbprint,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
            "sealed": self._sealer.seal(secret, context=_context(facts.credential_id)),
            "now": now,
        }
        await tx.execute(_ADD, values)

    async def activate(self, tx: AsyncConnection, tenant_id: str, credential_id: uuid.UUID, now: datetime) -> bool:
        values = {"tenant": tenant_id, "id": credential_id}
        await tx.execute(_SUPERSEDE, values)
        return (await tx.execute(_ACTIVATE, {**values, "now": now})).one_or_none() is not None

    async def drop(self, tx: AsyncConnection, tenant_id: str, credential_id: uuid.UUID) -> None:
        await tx.execute(_DROP, {"tenant": tenant_id, "id": credential_id})

    async def open(self, tx: AsyncConnection, credential_id: uuid.UUID) -> Credential | None:
        row = (await tx.execute(_OPEN, {"id": credential_id})).one_or_none()
        if row is None:
            return None
        secret = orjson.loads(self._sealer.open(row.sealed, context=_context(credential_id)))
        return Credential(_facts(row), secret["pfx"], secret["password"])

    async def active(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> dict[str, uuid.UUID]:
        rows = await tx.execute(_ACTIVE, {"tenants": list(tenant_ids)})
        return {row.tenant_id: row.credential_id for row in rows}

    async def facts(self, tx: AsyncConnection, tenant_id: str) -> list[tuple[CredentialFacts, str]]:
        return [(_facts(row), row.state) for row in await tx.execute(_FACTS, {"tenant": tenant_id})]


def _context(credential_id: uuid.UUID) -> str:
    return f"credential:{credential_id}"


SEALED_COLUMNS = (SealedColumn("credential", "credential_id", "sealed", _context),)


def _facts(row: Row[Any]) -> CredentialFacts:
    return CredentialFacts(
        credential_id=row.credential_id,
        tenant_id=row.tenant_id,
        customer=row.customer,
        client_id=row.client_id,
        organization=row.organization,
        cloud=row.cloud,
        thumbprint=row.thumbprint,
        not_before=row.not_before,
        not_after=row.not_after,
    )
