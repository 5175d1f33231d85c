"""What a tenant's app registration may do, by the permissions last seen in its token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from graph_adapter.domain.capabilities import capability_map
from graph_adapter.domain.ports import Store
from graph_adapter.domain.template import Catalogue
from mesh_runtime.errors import NotFound


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`operations` is `{operation: {"allowed", "missing"}}`."""

    tenant_id: str
    roles: list[str]
    seen_at: datetime
    operations: dict[str, Any]


async def show_capabilities(store: Store, catalogue: Catalogue, tenant_id: str) -> Capabilities:
    """Raises NotFound until a first token of the tenant was seen."""
    async with store.read() as unit:
        tenant = (await unit.tenants.get([tenant_id])).get(tenant_id)
    if tenant is None or tenant.roles is None or tenant.roles_seen_at is None:
        raise NotFound(
            "no token of this tenant was seen yet",
            code="capabilities-unknown",
            remedy="Test the tenant once: `ucmesh tenant test`.",
        )
    operations = capability_map(catalogue.templates.values(), tenant.roles)
    return Capabilities(tenant_id, sorted(tenant.roles), tenant.roles_seen_at, operations)
