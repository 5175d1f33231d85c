"""Operations as an operator sees them: the list without parameters, one with everything."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from graph_adapter.domain.ports import Store
from graph_adapter.domain.views import OperationView
from mesh_runtime.errors import NotFound


async def list_operations(
    store: Store, *, tenant_id: str | None, state: str | None, before: int | None, limit: int
) -> Sequence[OperationView]:
    """Newest first."""
    async with store.read() as unit:
        return await unit.operations.page(tenant_id=tenant_id, state=state, before=before, limit=limit)


async def show_operation(store: Store, operation_id: UUID) -> OperationView:
    """Raises NotFound."""
    async with store.read() as unit:
        found = await unit.operations.get(operation_id)
    if found is None:
        raise NotFound(f"there is no operation {operation_id}", code="operation-unknown")
    return found
