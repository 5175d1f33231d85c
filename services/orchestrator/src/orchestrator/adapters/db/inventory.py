"""A customer's tenants and numbers in PostgreSQL (port `Inventory`). Holds no state."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.adapters.db.documents import columns_of
from orchestrator.domain.configuration import TenantRow
from orchestrator.domain.customer import Tenant
from orchestrator.domain.numbers import NumberRange

TENANT_COLUMNS = """
tenant_id, customer, name, organization, domain, cloud, client_id, application_object_id, state, state_at,
reason::text AS reason, credential_id, credential_not_after, capabilities::text AS capabilities, observed_at,
observation::text AS observation
"""

_TENANTS = text(f"SELECT {TENANT_COLUMNS} FROM tenant WHERE customer = :customer ORDER BY tenant_id")

_OWNERS = text("""
SELECT tenant_id, customer FROM tenant WHERE tenant_id = ANY (CAST(:tenant_ids AS text[])) ORDER BY tenant_id FOR UPDATE
""")

_SAVE_TENANTS = text("""
INSERT INTO tenant (tenant_id, customer, name, organization, domain, cloud, client_id, application_object_id, state,
                    state_at)
SELECT t.tenant_id, :customer, t.name, t.organization, t.domain, t.cloud, t.client_id, t.application_object_id,
       'registering', :now
FROM unnest(
    CAST(:tenant_id AS text[]), CAST(:name AS text[]), CAST(:organization AS text[]), CAST(:domain AS text[]),
    CAST(:cloud AS text[]), CAST(:client_id AS text[]), CAST(:application_object_id AS text[])
) AS t (tenant_id, name, organization, domain, cloud, client_id, application_object_id)
ORDER BY t.tenant_id
ON CONFLICT (tenant_id) DO UPDATE SET
    name = excluded.name, organization = excluded.organization, domain = excluded.domain, cloud = excluded.cloud,
    client_id = excluded.client_id, application_object_id = excluded.application_object_id
WHERE (tenant.name, tenant.organization, tenant.domain, tenant.cloud, tenant.client_id, tenant.application_object_id)
   IS DISTINCT FROM (excluded.name, excluded.organization, excluded.domain, excluded.cloud, excluded.client_id,
                     excluded.application_object_id)
""")

_REGISTERING = text("""
UPDATE tenant SET state = 'registering', state_at = :now, reason = NULL
WHERE tenant_id = ANY (CAST(:tenant_ids AS text[])) AND state <> 'registering'
""")

_LEDGERS = text("""
INSERT INTO tenant_ledger (tenant_id)
SELECT t.tenant_id FROM unnest(CAST(:tenant_ids AS text[])) AS t (tenant_id)
ORDER BY t.tenant_id
ON CONFLICT DO NOTHING
""")

_IN_USE = text("""
SELECT t.tenant_id FROM unnest(CAST(:tenant_ids AS text[])) AS t (tenant_id)
WHERE EXISTS (SELECT FROM person p WHERE p.tenant_id = t.tenant_id)
ORDER BY t.tenant_id
""")

_REMOVE = tuple(
    text(f"DELETE FROM {table} WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))")
    for table in ("tenant_group", "seat_pool", "tenant_ledger", "tenant")
)

_LISTED = "unnest(CAST(:numbers AS text[])) AS l (number)"

_ADD_NUMBERS = text("""
INSERT INTO number (customer, number, site, type, location_id, status, listed, changed_at)
SELECT :customer, n.number, n.site, n.type, n.location_id, 'available', true, :now
FROM unnest(CAST(:numbers AS text[]), CAST(:sites AS text[]), CAST(:types AS text[]), CAST(:location_ids AS text[]))
    AS n (number, site, type, location_id)
ON CONFLICT (customer, number) DO UPDATE SET
    site = excluded.site, type = excluded.type, location_id = excluded.location_id, listed = true
WHERE (number.site, number.type, number.location_id, number.listed)
   IS DISTINCT FROM (excluded.site, excluded.type, excluded.location_id, true)
""")

_DROP_NUMBERS = text(f"""
DELETE FROM number WHERE customer = :customer AND status = 'available'
AND NOT EXISTS (SELECT FROM {_LISTED} WHERE l.number = number.number)
""")

_UNLIST_NUMBERS = text(f"""
UPDATE number SET listed = false WHERE customer = :customer AND listed
AND NOT EXISTS (SELECT FROM {_LISTED} WHERE l.number = number.number)
""")


class DatabaseInventory:
    async def tenants(self, tx: AsyncConnection, customer: str) -> list[TenantRow]:
        return [tenant_row(row) for row in await tx.execute(_TENANTS, {"customer": customer})]

    async def owners(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> Mapping[str, str]:
        rows = await tx.execute(_OWNERS, {"tenant_ids": list(tenant_ids)})
        return {row.tenant_id: row.customer for row in rows}

    async def save_tenants(
        self, tx: AsyncConnection, customer: str, tenants: Sequence[Tenant], registering: Collection[str], now: datetime
    ) -> None:
        await tx.execute(
            _SAVE_TENANTS,
            {
                "customer": customer,
                "now": now,
                "tenant_id": [tenant.tenant_id for tenant in tenants],
                "name": [tenant.name for tenant in tenants],
                "organization": [tenant.organization for tenant in tenants],
                "domain": [tenant.domain for tenant in tenants],
                "cloud": [tenant.cloud for tenant in tenants],
                "client_id": [tenant.client_id for tenant in tenants],
                "application_object_id": [tenant.application_object_id for tenant in tenants],
            },
        )
        await tx.execute(_LEDGERS, {"tenant_ids": [tenant.tenant_id for tenant in tenants]})
        if registering:
            await tx.execute(_REGISTERING, {"tenant_ids": list(registering), "now": now})

    async def tenants_in_use(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> list[str]:
        if not tenant_ids:
            return []
        return [row.tenant_id for row in await tx.execute(_IN_USE, {"tenant_ids": list(tenant_ids)})]

    async def remove_tenants(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> None:
        for statement in _REMOVE if tenant_ids else ():
            await tx.execute(statement, {"tenant_ids": list(tenant_ids)})

    async def sync_numbers(
        self, tx: AsyncConnection, customer: str, ranges: Sequence[NumberRange], now: datetime
    ) -> None:
        listed = [(number, block) for block in ranges for number in block.numbers]
        numbers = {"customer": customer, "numbers": [number for number, _ in listed]}
        await tx.execute(
            _ADD_NUMBERS,
            {
                **numbers,
                "now": now,
                "sites": [block.site for _, block in listed],
                "types": [block.type for _, block in listed],
                "location_ids": [block.location_id for _, block in listed],
            },
        )
        await tx.execute(_DROP_NUMBERS, numbers)
        await tx.execute(_UNLIST_NUMBERS, numbers)


_make_tenant: Callable[..., TenantRow] = TenantRow
_JSON = ("reason", "capabilities", "observation")


def tenant_row(row: Row[Any]) -> TenantRow:
    """A row of TENANT_COLUMNS."""
    return _make_tenant(**columns_of(row, _JSON))
