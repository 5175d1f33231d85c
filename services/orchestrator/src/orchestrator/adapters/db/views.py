"""Reads for the API (port `Views`): every list pages by key, numbers in their numeric order."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db.customers import CURRENT_ROWS
from orchestrator.adapters.db.documents import columns_of
from orchestrator.adapters.db.inventory import TENANT_COLUMNS, tenant_row
from orchestrator.adapters.db.ledgers import pool_of
from orchestrator.domain.configuration import TenantRow
from orchestrator.domain.views import CustomerView, HistoryView, NumberView, PersonView, SeatView
from orchestrator.wire.customer import from_rows

_CUSTOMERS = text("""
SELECT customer, name, version, applied_at, applied_by FROM customer
WHERE CAST(:after AS text) IS NULL OR customer > :after ORDER BY customer LIMIT :limit
""")
_CUSTOMER = text("SELECT customer, name, version, applied_at, applied_by FROM customer WHERE customer = :customer")
_HISTORY = text("""
SELECT kind, name, version, removed, applied_at, applied_by, document::text AS document FROM configuration
WHERE customer = :customer
  AND (CAST(:version AS bigint) IS NULL OR (-version, kind, name) > (-CAST(:version AS bigint), :kind, :name))
ORDER BY version DESC, kind, name LIMIT :limit
""")
_TENANT = text(f"SELECT {TENANT_COLUMNS} FROM tenant WHERE tenant_id = :tenant_id")
_NUMBERS = text("""
SELECT n.number, n.site, n.type, n.location_id, n.status, n.listed, p.employee_id, n.plan_id, n.note,
       n.changed_at
FROM number n LEFT JOIN person p ON p.person_id = n.person_id
WHERE n.customer = :customer AND (CAST(:site AS text) IS NULL OR n.site = :site)
  AND (CAST(:status AS text) IS NULL OR n.status = :status)
  AND (CAST(:after AS text) IS NULL OR (length(n.number), n.number) > (length(:after), :after COLLATE "C"))
ORDER BY length(n.number), n.number LIMIT :limit
""")
_SEATS = text("""
SELECT s.tenant_id, s.sku_id, s.part_number, s.capability_status, s.enabled, s.warning, s.consumed, h.held,
       s.observed_at
FROM seat_pool s JOIN tenant t USING (tenant_id)
CROSS JOIN LATERAL (
    SELECT count(*) AS held FROM seat_hold h WHERE h.tenant_id = s.tenant_id AND h.sku_id = s.sku_id
) h
WHERE t.customer = :customer AND (CAST(:tenant_id AS text) IS NULL OR (s.tenant_id, s.sku_id) > (:tenant_id, :sku_id))
ORDER BY s.tenant_id, s.sku_id LIMIT :limit
""")
_PERSON_COLUMNS = """
p.person_id, p.customer, p.employee_id, p.sequence, p.effective_date, p.facts::text AS facts, p.status,
p.refusal::text AS refusal, p.site, p.profile, p.tenant_id, p.plan_id, p.upn, p.user_id,
(
    SELECT n.number FROM number n WHERE n.person_id = p.person_id ORDER BY n.status = 'used' DESC, n.number LIMIT 1
) AS number,
p.desired::text AS desired, p.observed::text AS observed, p.observed_at,
p.created_at, p.updated_at
"""
_PEOPLE = text(f"""
SELECT {_PERSON_COLUMNS} FROM person p
WHERE (CAST(:customer AS text) IS NULL OR p.customer = :customer)
  AND (CAST(:status AS text) IS NULL OR p.status = :status)
  AND (CAST(:after_customer AS text) IS NULL
       OR (p.customer, p.employee_id) > (:after_customer, :after_employee_id))
ORDER BY p.customer, p.employee_id LIMIT :limit
""")
_PERSON = text(f"SELECT {_PERSON_COLUMNS} FROM person p WHERE p.customer = :customer AND p.employee_id = :employee_id")

_make_person: Callable[..., PersonView] = PersonView
_PERSON_JSON = ("facts", "refusal", "desired", "observed")


class DatabaseViews:
    async def customers(self, tx: AsyncConnection, *, after: str | None, limit: int) -> list[CustomerView]:
        rows = await tx.execute(_CUSTOMERS, {"after": after, "limit": limit})
        return [CustomerView(*row) for row in rows]

    async def customer(self, tx: AsyncConnection, customer: str) -> CustomerView | None:
        row = (await tx.execute(_CUSTOMER, {"customer": customer})).one_or_none()
        return None if row is None else CustomerView(*row)

    async def document(self, tx: AsyncConnection, customer: CustomerView) -> Mapping[str, Any]:
        found = await tx.execute(CURRENT_ROWS, {"customer": customer.customer, "version": customer.version})
        rows = {(row.kind, row.name): orjson.loads(row.document) for row in found}
        if not rows:
            return {"customer": customer.customer, "name": customer.name}
        return from_rows(customer.customer, customer.name, rows).model_dump(mode="json", by_alias=True)

    async def tenant(self, tx: AsyncConnection, tenant_id: str) -> TenantRow | None:
        row = (await tx.execute(_TENANT, {"tenant_id": tenant_id})).one_or_none()
        return None if row is None else tenant_row(row)

    async def history(
        self, tx: AsyncConnection, customer: str, *, before: tuple[int, str, str] | None, limit: int
    ) -> list[HistoryView]:
        version, kind, name = before or (None, None, None)
        rows = await tx.execute(
            _HISTORY, {"customer": customer, "version": version, "kind": kind, "name": name, "limit": limit}
        )
        return [_history(row) for row in rows]

    async def numbers(
        self,
        tx: AsyncConnection,
        customer: str,
        *,
        site: str | None,
        status: str | None,
        after: str | None,
        limit: int,
    ) -> list[NumberView]:
        rows = await tx.execute(
            _NUMBERS, {"customer": customer, "site": site, "status": status, "after": after, "limit": limit}
        )
        return [NumberView(*row) for row in rows]

    async def seats(
        self, tx: AsyncConnection, customer: str, *, after: tuple[str, str] | None, limit: int
    ) -> list[SeatView]:
        tenant_id, sku_id = after or (None, None)
        rows = await tx.execute(
            _SEATS, {"customer": customer, "tenant_id": tenant_id, "sku_id": sku_id, "limit": limit}
        )
        return [_seats(row) for row in rows]

    async def people(
        self,
        tx: AsyncConnection,
        *,
        customer: str | None,
        status: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[PersonView]:
        after_customer, after_employee_id = after or (None, None)
        rows = await tx.execute(
            _PEOPLE,
            {
                "customer": customer,
                "status": status,
                "after_customer": after_customer,
                "after_employee_id": after_employee_id,
                "limit": limit,
            },
        )
        return [_person(row) for row in rows]

    async def person(self, tx: AsyncConnection, customer: str, employee_id: str) -> PersonView | None:
        row = (await tx.execute(_PERSON, {"customer": customer, "employee_id": employee_id})).one_or_none()
        return None if row is None else _person(row)


def _history(row: Row[Any]) -> HistoryView:
    return HistoryView(
        kind=row.kind,
        name=row.name,
        version=row.version,
        removed=row.removed,
        applied_at=row.applied_at,
        applied_by=row.applied_by,
        document=orjson.loads(row.document),
    )


def _seats(row: Row[Any]) -> SeatView:
    pool = pool_of(row)
    return SeatView(
        tenant_id=row.tenant_id,
        sku_id=pool.sku_id,
        part_number=pool.part_number,
        capability_status=pool.capability_status,
        total=pool.total,
        consumed=pool.consumed,
        held=pool.held,
        available=max(pool.available, 0),
        observed_at=row.observed_at,
    )


def _person(row: Row[Any]) -> PersonView:
    return _make_person(**columns_of(row, _PERSON_JSON))
