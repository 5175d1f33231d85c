"""Check a tenant now: read it with its certificate and say what came back."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from mesh_runtime.db import Database
from mesh_runtime.errors import NotFound
from orchestrator.application.rules import Rules
from orchestrator.domain.configuration import TenantRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

POLL_SECONDS = 0.25


async def check_tenant(
    rules: Rules, db: Database, customer: str, tenant_id: str, *, wait_seconds: float
) -> tuple[TenantRow, bool]:
    """The tenant, and whether the read asked for now is in it. Waits at most `wait_seconds` for that.

    A tenant that is not ready is answered as it stands. Raises NotFound.
    """
    async with db.transaction() as tx:
        asked_at = rules.clock.now()
        tenant = await _tenant(rules, tx, customer, tenant_id)
        if tenant.state == "ready":
            await rules.commands.observe_tenants(tx, [tenant_id])
    deadline = rules.clock.monotonic() + wait_seconds
    while tenant.state == "ready" and not _answered(tenant, asked_at):
        if rules.clock.monotonic() >= deadline:
            return tenant, False
        await asyncio.sleep(POLL_SECONDS)
        async with db.read() as tx:
            tenant = await _tenant(rules, tx, customer, tenant_id)
    return tenant, tenant.state == "ready"


async def _tenant(rules: Rules, tx: "AsyncConnection", customer: str, tenant_id: str) -> TenantRow:
    for tenant in await rules.inventory.tenants(tx, customer):
        if tenant.tenant_id == tenant_id:
            return tenant
    raise NotFound(f"customer {customer!r} has no tenant {tenant_id}", code="tenant-not-found")


def _answered(tenant: TenantRow, asked_at: datetime) -> bool:
    if tenant.observed_at is not None and tenant.observed_at >= asked_at:
        return True
    failed_at = (tenant.observation or {}).get("at")
    return failed_at is not None and datetime.fromisoformat(failed_at) >= asked_at
