"""Customers and their configuration rows in PostgreSQL (ports `Configurations` and `Rulebooks`).

Owns the append-only versions and a bounded cache of compiled rulebooks: one statement a batch says which are current.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db.documents import dump
from orchestrator.domain.configuration import Change, StoredConfiguration
from orchestrator.domain.profile import Rulebook
from orchestrator.wire.customer import from_rows

RULEBOOKS_MAX = 1_000

_VERSIONS = text("SELECT customer, version FROM customer WHERE customer = ANY (CAST(:customers AS text[]))")

_LOCK = text("SELECT name, version FROM customer WHERE customer = :customer FOR UPDATE")

CURRENT_ROWS = text("""
SELECT kind, name, document::text AS document FROM (
    SELECT DISTINCT ON (kind, name) kind, name, position, document, removed
    FROM configuration WHERE customer = :customer AND version <= :version
    ORDER BY kind, name, version DESC
) newest
WHERE NOT removed
ORDER BY kind, position, name
""")

_NAME = text("SELECT name FROM customer WHERE customer = :customer")

_INSERT_CUSTOMER = text("""
INSERT INTO customer (customer, name, version, applied_at, applied_by) VALUES (:customer, :name, 0, :now, :actor)
ON CONFLICT DO NOTHING
""")

_UPDATE_CUSTOMER = text("""
UPDATE customer SET name = :name, version = :version, applied_at = :now, applied_by = :actor WHERE customer = :customer
""")

_INSERT_ROWS = text("""
INSERT INTO configuration (customer, kind, name, version, position, document, removed, applied_at, applied_by)
SELECT :customer, r.kind, r.name, :version, r.position, r.document::jsonb, r.removed, :now, :actor
FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:positions AS integer[]), CAST(:documents AS text[]),
            CAST(:removed AS boolean[])) AS r (kind, name, position, document, removed)
""")


class DatabaseCustomers:
    def __init__(self) -> None:
        self._rulebooks: OrderedDict[str, Rulebook] = OrderedDict()

    async def rulebooks(self, tx: AsyncConnection, customers: Collection[str]) -> Mapping[str, Rulebook]:
        if not customers:
            return {}
        rows = await tx.execute(_VERSIONS, {"customers": list(customers)})
        return {row.customer: await self._rulebook(tx, row.customer, row.version) for row in rows.all()}

    async def lock(self, tx: AsyncConnection, customer: str, *, actor: str, now: datetime) -> StoredConfiguration:
        """The current rows, with the customer locked; version 0 and no rows for a new one."""
        await tx.execute(_INSERT_CUSTOMER, {"customer": customer, "name": customer, "actor": actor, "now": now})
        head = (await tx.execute(_LOCK, {"customer": customer})).one()
        return StoredConfiguration(head.name, head.version, await self._rows(tx, customer, head.version))

    async def save(
        self,
        tx: AsyncConnection,
        customer: str,
        name: str,
        version: int,
        changes: Collection[Change],
        *,
        actor: str,
        now: datetime,
    ) -> None:
        head = {"customer": customer, "version": version, "actor": actor, "now": now}
        await tx.execute(_UPDATE_CUSTOMER, {**head, "name": name})
        if changes:
            await tx.execute(
                _INSERT_ROWS,
                {
                    **head,
                    "kinds": [change.kind for change in changes],
                    "names": [change.name for change in changes],
                    "positions": [change.position for change in changes],
                    "documents": [dump(change.document) for change in changes],
                    "removed": [change.action == "removed" for change in changes],
                },
            )

    async def _rulebook(self, tx: AsyncConnection, customer: str, version: int) -> Rulebook:
        cached = self._rulebooks.get(customer)
        if cached is None or cached.version != version:
            name = (await tx.execute(_NAME, {"customer": customer})).scalar_one()
            document = from_rows(customer, name, await self._rows(tx, customer, version))
            cached = self._rulebooks[customer] = Rulebook(document.to_domain(), version)
            if len(self._rulebooks) > RULEBOOKS_MAX:
                self._rulebooks.popitem(last=False)
        self._rulebooks.move_to_end(customer)
        return cached

    async def _rows(self, tx: AsyncConnection, customer: str, version: int) -> dict[tuple[str, str], dict[str, Any]]:
        rows = await tx.execute(CURRENT_ROWS, {"customer": customer, "version": version})
        return {(row.kind, row.name): orjson.loads(row.document) for row in rows}
