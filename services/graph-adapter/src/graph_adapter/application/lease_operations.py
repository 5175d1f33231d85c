"""A worker asks for work: operations of several tenants, fairly shared, held for a limited time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from graph_adapter.domain.fairness import Limits, candidates, shares
from graph_adapter.domain.operation import LeasedOperation
from graph_adapter.domain.ports import Store
from graph_adapter.domain.views import TenantView
from mesh_runtime import faults
from mesh_runtime.clock import Clock, IdGenerator

LEASED = faults.declare("graph.leased", "operations are leased, nothing is asked of Microsoft Graph yet")


@dataclass(frozen=True, slots=True)
class TenantWork:
    """Operations of one tenant under one lease, and what is known about the tenant."""

    tenant_id: str
    lease_id: UUID
    operations: tuple[LeasedOperation, ...]
    tenant: TenantView | None


async def lease_operations(
    store: Store,
    running: Mapping[str, int],
    limits: Limits,
    *,
    lease_seconds: float,
    last_served: str | None,
    clock: Clock,
    ids: IdGenerator,
) -> list[TenantWork]:
    """Leases what `fairness` grants. `running` counts this process's runs by tenant. Empty when nothing is
    due.
    """
    now = clock.now()
    by_tenant: dict[str, list[LeasedOperation]] = defaultdict(list)
    async with store.transaction() as unit:
        wanted = candidates(await unit.operations.waiting(now), running, limits, last_served)
        granted = shares(wanted, await unit.operations.claim(wanted), running, limits)
        if not granted:
            return []
        lease_ids = {share.tenant_id: ids.new() for share in granted}
        leased = await unit.operations.lease(granted, lease_ids, now, now + timedelta(seconds=lease_seconds))
        for operation in leased:
            by_tenant[operation.command.tenant_id].append(operation)
        tenants = await unit.tenants.get(list(by_tenant)) if by_tenant else {}
    faults.fault_point(LEASED)
    # In the order they were granted: the caller remembers the last one.
    return [
        TenantWork(name, lease_ids[name], tuple(by_tenant[name]), tenants.get(name))
        for name in lease_ids
        if name in by_tenant
    ]
