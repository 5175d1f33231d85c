"""Reads for the API: certificates and their public parts, never a secret."""

from uuid import UUID

from sqlalchemy import text

from cert_manager.domain.ports import CertificateView
from mesh_runtime.db import Database


class CertificateReads:
    """Read-only queries."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, tenant_id: str | None, after: UUID | None, limit: int) -> list[CertificateView]:
        """Newest last, by credential id (UUIDv7: in order of creation)."""
        async with self._db.read() as tx:
            rows = await tx.execute(text(PAGE), {"tenant_id": tenant_id, "after": after, "limit": limit, "id": None})
            return [CertificateView(**row) for row in rows.mappings()]

    async def get(self, credential_id: UUID) -> CertificateView | None:
        """One, or None."""
        async with self._db.read() as tx:
            rows = await tx.execute(text(PAGE), {"tenant_id": None, "after": None, "limit": 1, "id": credential_id})
            row = rows.mappings().one_or_none()
            return CertificateView(**row) if row is not None else None

    async def certificate_der(self, credential_id: UUID) -> bytes | None:
        """The public part, or None for a secret or an unknown id."""
        async with self._db.read() as tx:
            rows = await tx.execute(
                text("SELECT certificate_der FROM credential WHERE credential_id = :id"), {"id": credential_id}
            )
            value = rows.scalar_one_or_none()
            return bytes(value) if value is not None else None


PAGE = """
SELECT c.credential_id, c.tenant_id, r.customer, c.client_id, c.kind, c.state, c.thumbprint, c.not_before,
       CASE WHEN c.kind = 'certificate' THEN c.not_after END AS not_after, c.created_at,
       coalesce(open.purposes, '{}') AS waiting_for, open.message AS last_error
FROM credential c
JOIN registration r USING (tenant_id)
LEFT JOIN LATERAL (
    SELECT array_agg(n.purpose ORDER BY n.purpose) AS purposes, max(n.message) AS message
    FROM (
        SELECT DISTINCT ON (purpose) purpose, outcome, message
        FROM request WHERE credential_id = c.credential_id ORDER BY purpose, attempt DESC
    ) n
    WHERE n.outcome IS DISTINCT FROM 'succeeded'
) open ON true
WHERE (CAST(:tenant_id AS text) IS NULL OR c.tenant_id = :tenant_id)
  AND (CAST(:after AS uuid) IS NULL OR c.credential_id > :after)
  AND (CAST(:id AS uuid) IS NULL OR c.credential_id = :id)
ORDER BY c.credential_id
LIMIT :limit
"""
