"""A worker asks for work: operations of several tenants, fairly shared, held for a limited time. What its process
has accepted and leased already competes with what waits in the queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from graph_adapter.domain.fairness import Limits, candidates, shares, together
from graph_adapter.domain.operation import LeasedOperation
from graph_adapter.domain.ports import Store
from graph_adapter.domain.tray import Tray
from graph_adapter.domain.views import TenantView
from mesh_runtime import faults
from mesh_runtime.clock import Clock, IdGenerator

LEASED = faults.declare("graph.leased", "operations are leased, nothing is asked of Microsoft Graph yet")


@dataclass(frozen=True, slots=True)
class TenantWork:
    """Operations of one tenant under one lease, and what is known about the tenant. Those of the tray share theirs."""

    tenant_id: str
    lease_id: UUID
    operations: tuple[LeasedOperation, ...]
    tenant: TenantView | None

    @property
    def operation_ids(self) -> list[UUID]:
        return [leased.command.operation_id for leased in self.operations]


async def lease_operations(
    store: Store,
    running: Mapping[str, int],
    limits: Limits,
    *,
    lease_seconds: float,
    last_served: str | None,
    clock: Clock,
    ids: IdGenerator,
    tray: Tray | None = None,
    look: bool = True,
) -> list[TenantWork]:
    """Leases what `fairness` grants, or takes it from the `tray` of this process. `running` counts this process's runs
    by tenant. Not to `look`: nobody has queued anything since, so what the tray holds is all. Empty when nothing is
    due.
    """
    now = clock.now()
    held = tray.backlog(now) if tray is not None else []
    if not look and not held:
        return []
    works: list[TenantWork] = []
    async with store.transaction() as unit:
        waiting, first = together(await unit.operations.waiting(now) if look else [], held)
        wanted = candidates(waiting, running, limits, last_served)
        claimed = await unit.operations.claim([name for name in wanted if name not in first])
        holders = frozenset(item.tenant_id for item in held)
        granted = shares(wanted, claimed, running, limits, first=first, held=holders)
        if not granted:
            return []
        lease_ids = {share.tenant_id: ids.new() for share in granted if not share.is_held}
        new = [share for share in granted if not share.is_held]
        leased = await unit.operations.lease(new, lease_ids, now, now + timedelta(seconds=lease_seconds))
        by_tenant: dict[str, list[LeasedOperation]] = defaultdict(list)
        for operation in leased:
            by_tenant[operation.command.tenant_id].append(operation)
        tenants = await unit.tenants.get([share.tenant_id for share in granted])
    faults.fault_point(LEASED)
    # In the order they were granted: the caller remembers the last one.
    for share in granted:
        name, tenant = share.tenant_id, tenants.get(share.tenant_id)
        # Nothing of the queue may be free although it comes first: what is held may be just what it waits for.
        if tray is not None and (share.is_held or (name in holders and name not in by_tenant)):
            if tenant is not None and tenant.paused_until is not None and tenant.paused_until > now:
                tray.pause(name, tenant.paused_until)
            elif operations := tray.take(name, share.take, now):
                works.append(TenantWork(name, tray.lease_id, tuple(operations), tenant))
        elif name in by_tenant:
            works.append(TenantWork(name, lease_ids[name], tuple(by_tenant[name]), tenant))
    return works
