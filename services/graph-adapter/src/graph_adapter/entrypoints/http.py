"""The HTTP API: what operators ask and switch. Commands come by Kafka, not here.

Owns paths and the shapes of answers. Refuses parameters and replies in lists: they hold personal data.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from graph_adapter.application.list_operations import list_operations, show_operation
from graph_adapter.application.reload_templates import TemplateShelf
from graph_adapter.application.show_capabilities import show_capabilities
from graph_adapter.domain.ports import Store
from graph_adapter.domain.template import Template
from graph_adapter.wire import OperationState, TenantId
from mesh_runtime.auth import Principal, require
from mesh_runtime.errors import NotFound
from mesh_runtime.paging import After, Limit, Page, decode_cursor, encode_cursor

Reader = Annotated[Principal, Depends(require("mesh.read"))]
Admin = Annotated[Principal, Depends(require("mesh.admin"))]


class OperationSummary(BaseModel):
    """One operation, without what it carries."""

    model_config = ConfigDict(from_attributes=True)

    operation_id: UUID
    operation: str
    version: int
    tenant_id: str
    target: str
    state: OperationState
    lane: str
    plan_id: UUID | None
    attempts: int
    received_at: datetime
    not_before: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime
    outcome: str | None
    error_code: str | None


class OperationDetail(OperationSummary):
    """One operation with its parameters and its reply (null until it is done)."""

    params: dict[str, Any]
    reply: dict[str, Any] | None


class Capability(BaseModel):
    """Whether an operation is possible; `missing` names the least privileged permission of every need that is not
    met.
    """

    allowed: bool
    missing: list[str]


class CapabilityMap(BaseModel):
    """What a tenant's app registration may do, by the permissions last seen in its token."""

    model_config = ConfigDict(from_attributes=True)

    tenant_id: str
    roles: list[str]
    seen_at: datetime
    operations: dict[str, Capability]


class TemplateView(BaseModel):
    """One version of one operation."""

    operation: str
    version: int
    title: str
    repeatability: str
    permissions: list[list[str]] = Field(description="every row is needed, any one of a row is enough, least first")
    parameters: dict[str, str]


class TemplateList(BaseModel):
    """The operation templates in use; `fingerprint` changes with their content."""

    fingerprint: str
    items: list[TemplateView]


def operations_router(store: Store) -> APIRouter:
    """GET /operations, GET /operations/{id}."""
    router = APIRouter(prefix="/operations", tags=["operations"])

    @router.get("", summary="List operations, newest first")
    async def list_all(
        _: Reader,
        tenant_id: Annotated[TenantId | None, Query(description="Microsoft Entra tenant id")] = None,
        state: Annotated[OperationState | None, Query()] = None,
        after: After = None,
        limit: Limit = 50,
    ) -> Page[OperationSummary]:
        before = int(str(decode_cursor(after, [int])[0])) if after else None
        rows = await list_operations(store, tenant_id=tenant_id, state=state, before=before, limit=limit + 1)
        items = [OperationSummary.model_validate(row) for row in rows[:limit]]
        following = encode_cursor(rows[limit - 1].seq) if len(rows) > limit else None
        return Page[OperationSummary](items=items, next=following)

    @router.get("/{operation_id}", summary="Show one operation with its parameters and reply")
    async def show(operation_id: UUID, _: Reader) -> OperationDetail:
        return OperationDetail.model_validate(await show_operation(store, operation_id))

    return router


def tenants_router(store: Store, shelf: TemplateShelf) -> APIRouter:
    """GET /tenants/{id}/capabilities."""
    router = APIRouter(prefix="/tenants", tags=["tenants"])

    @router.get("/{tenant_id}/capabilities", summary="What the tenant's app registration may do")
    async def capabilities(tenant_id: Annotated[TenantId, Path()], _: Reader) -> CapabilityMap:
        return CapabilityMap.model_validate(await show_capabilities(store, shelf.current, tenant_id))

    return router


def templates_router(shelf: TemplateShelf) -> APIRouter:
    """GET /templates, GET /templates/{operation}/{version}, POST /templates/reload."""
    router = APIRouter(prefix="/templates", tags=["templates"])

    @router.get("", summary="List the operation templates in use")
    async def list_all(_: Reader) -> TemplateList:
        return _templates(shelf)

    @router.get("/{operation}/{version}", summary="Show one operation template")
    async def show(operation: str, version: int, _: Reader) -> TemplateView:
        template = shelf.current.templates.get((operation, version))
        if template is None:
            raise NotFound(f"there is no operation {operation}@{version}", code="template-unknown")
        return _template(template)

    @router.post("/reload", summary="Read the templates from disk again (this process only)")
    async def reload(_: Admin) -> TemplateList:
        shelf.reload()
        return _templates(shelf)

    return router


def _templates(shelf: TemplateShelf) -> TemplateList:
    catalogue = shelf.current
    items = [_template(catalogue.templates[key]) for key in sorted(catalogue.templates)]
    return TemplateList(fingerprint=catalogue.fingerprint, items=items)


def _template(template: Template) -> TemplateView:
    return TemplateView(
        operation=template.name,
        version=template.version,
        title=template.title,
        repeatability=template.repeatability.value,
        permissions=[list(row) for row in template.permissions],
        parameters={
            parameter.name: parameter.kind + ("" if parameter.required else "?") for parameter in template.parameters
        },
    )
