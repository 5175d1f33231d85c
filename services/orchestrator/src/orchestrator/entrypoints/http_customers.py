"""Customers over HTTP: apply a configuration, look at it, its numbers, its seats and its tenants.

Owns the shapes of requests and answers. A bootstrap secret is sealed for cert-manager before anything else is done with
the document, and never stored, logged or answered.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError

from mesh_runtime.auth import Principal, require
from mesh_runtime.db import Database
from mesh_runtime.errors import NotFound
from mesh_runtime.paging import LIMIT_DEFAULT, After, Limit, Page, encode_cursor
from orchestrator.application import FaultyConfiguration, Rules, apply_customer, check_tenant, free_number
from orchestrator.domain.views import CustomerView, Views
from orchestrator.entrypoints.customer_models import (
    AppliedModel,
    CapabilitiesModel,
    CapabilityModel,
    ChangeModel,
    CustomerModel,
    CustomerSummary,
    HistoryModel,
    NumberModel,
    SeatModel,
    TenantModel,
    TenantTestModel,
    tenant_model,
)
from orchestrator.entrypoints.parameters import CustomerPath, NameQuery, NumberPath, TenantPath, text_key, version_key
from orchestrator.wire.customer import CustomerDocument, to_rows

Reader = Annotated[Principal, Depends(require("mesh.read"))]
Writer = Annotated[Principal, Depends(require("mesh.write"))]
Admin = Annotated[Principal, Depends(require("mesh.admin"))]

TEST_WAIT_SECONDS_MAX = 30

Seal = Callable[[str, str], str]
"""(tenant id, secret) -> JWE that only cert-manager can open."""


def router(db: Database, rules: Rules, views: Views, seal: Seal) -> APIRouter:
    """Routes under `/customers`; scopes mesh.read, mesh.write, mesh.admin."""
    routes = APIRouter(prefix="/customers", tags=["customers"])
    _applying(routes, db, rules, seal)
    _configuration(routes, db, rules, views)
    _inventory(routes, db, rules, views)
    _tests(routes, db, rules)
    return routes


def _applying(routes: APIRouter, db: Database, rules: Rules, seal: Seal) -> None:
    @routes.put("/{customer}", summary="Apply a customer's configuration")
    async def apply(customer: CustomerPath, document: CustomerDocument, admin: Admin) -> AppliedModel:
        """Applies the whole document; what it no longer names is removed. Applying it again changes nothing.

        New tenants are registered: cert-manager makes a certificate, and the tenant becomes ready once it works on
        every workload. Errors name every field by a JSON pointer.
        """
        if document.customer != customer:
            raise _invalid([("/customer", f"{document.customer!r} is not the customer in the path, {customer!r}")])
        sealed = {tenant_id: seal(tenant_id, secret) for tenant_id, secret in document.secrets().items()}
        try:
            async with db.transaction() as tx:
                applied = await apply_customer(
                    rules, tx, document.to_domain(), to_rows(document), sealed_secrets=sealed, actor=admin.subject
                )
        except FaultyConfiguration as error:
            raise _invalid([(fault.pointer, fault.message) for fault in error.faults]) from error
        return AppliedModel(
            customer=applied.customer,
            version=applied.version,
            changed=bool(applied.changes),
            changes=[
                ChangeModel(kind=change.kind, name=change.name, action=change.action, fields=list(change.fields))
                for change in applied.changes
            ],
            tenants=[tenant_model(row) for row in applied.tenants],
            registering=sorted(applied.registering),
        )


def _configuration(routes: APIRouter, db: Database, rules: Rules, views: Views) -> None:
    @routes.get("", summary="List customers")
    async def list_customers(
        _reader: Reader, after: After = None, limit: Limit = LIMIT_DEFAULT
    ) -> Page[CustomerSummary]:
        (key,) = text_key(after, 1) or (None,)
        async with db.read() as tx:
            found = await views.customers(tx, after=key, limit=limit + 1)
        page = found[:limit]
        following = encode_cursor(page[-1].customer) if len(found) > limit else None
        return Page[CustomerSummary](items=[CustomerSummary(**asdict(each)) for each in page], next=following)

    @routes.get("/{customer}", summary="Show a customer: configuration and tenants")
    async def show_customer(customer: CustomerPath, _reader: Reader) -> CustomerModel:
        """The configuration as applied last, without secrets."""
        async with db.read() as tx:
            found = await _customer(views, tx, customer)
            document = await views.document(tx, found)
            tenants = await rules.inventory.tenants(tx, customer)
        return CustomerModel(**asdict(found), document=dict(document), tenants=[tenant_model(row) for row in tenants])

    @routes.get("/{customer}/history", summary="List the versions of a customer's configuration, newest first")
    async def list_history(
        customer: CustomerPath, _reader: Reader, after: After = None, limit: Limit = LIMIT_DEFAULT
    ) -> Page[HistoryModel]:
        """One entry for each row that a version added, changed or removed."""
        before = version_key(after)
        async with db.read() as tx:
            await _customer(views, tx, customer)
            found = await views.history(tx, customer, before=before, limit=limit + 1)
        page = found[:limit]
        following = encode_cursor(page[-1].version, page[-1].kind, page[-1].name) if len(found) > limit else None
        return Page[HistoryModel](items=[HistoryModel(**asdict(each)) for each in page], next=following)


def _inventory(routes: APIRouter, db: Database, rules: Rules, views: Views) -> None:
    @routes.get("/{customer}/numbers", summary="List a customer's numbers")
    async def list_numbers(
        customer: CustomerPath,
        _reader: Reader,
        site: NameQuery = None,
        status: NameQuery = None,
        after: After = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[NumberModel]:
        """In numeric order, with who holds each."""
        (key,) = text_key(after, 1) or (None,)
        async with db.read() as tx:
            await _customer(views, tx, customer)
            found = await views.numbers(tx, customer, site=site, status=status, after=key, limit=limit + 1)
        page = found[:limit]
        following = encode_cursor(page[-1].number) if len(found) > limit else None
        return Page[NumberModel](items=[NumberModel(**asdict(each)) for each in page], next=following)

    @routes.post("/{customer}/numbers/{number}/free", summary="Offer a number again that nobody holds", status_code=204)
    async def free(customer: CustomerPath, number: NumberPath, _writer: Writer) -> None:
        """For numbers that were set aside because Teams refused them, once that has been put right there."""
        async with db.transaction() as tx:
            await free_number(rules, tx, customer, number)

    @routes.get("/{customer}/seats", summary="List a customer's licence pools")
    async def list_seats(
        customer: CustomerPath, _reader: Reader, after: After = None, limit: Limit = LIMIT_DEFAULT
    ) -> Page[SeatModel]:
        """What each pool holds, what the tenant says is in use, and what is promised to plans."""
        key = text_key(after, 2)
        async with db.read() as tx:
            await _customer(views, tx, customer)
            found = await views.seats(tx, customer, after=(key[0], key[1]) if key else None, limit=limit + 1)
        page = found[:limit]
        following = encode_cursor(page[-1].tenant_id, page[-1].sku_id) if len(found) > limit else None
        return Page[SeatModel](items=[SeatModel(**asdict(each)) for each in page], next=following)


def _tests(routes: APIRouter, db: Database, rules: Rules) -> None:
    @routes.post("/{customer}/tenants/{tenant_id}/test", summary="Read a tenant now and say what came back")
    async def check(
        customer: CustomerPath,
        tenant_id: TenantPath,
        _writer: Writer,
        wait_seconds: Annotated[float, Query(ge=0, le=TEST_WAIT_SECONDS_MAX)] = 10,
    ) -> TenantTestModel:
        """Reads organisation, licences, groups and permissions with the tenant's certificate; the planner uses them.

        `fresh` is false when the answer did not come within `wait_seconds`, or the tenant has no working certificate.
        """
        tenant, fresh = await check_tenant(rules, db, customer, tenant_id.lower(), wait_seconds=wait_seconds)
        return TenantTestModel(**tenant_model(tenant).model_dump(), fresh=fresh)


def tenants_router(db: Database, views: Views) -> APIRouter:
    """Routes under `/tenants`; scope mesh.read."""
    routes = APIRouter(prefix="/tenants", tags=["customers"])

    @routes.get("/{tenant_id}", summary="Show a tenant's state")
    async def show_tenant(tenant_id: TenantPath, _reader: Reader) -> TenantModel:
        async with db.read() as tx:
            tenant = await views.tenant(tx, tenant_id.lower())
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id}", code="tenant-not-found")
        return tenant_model(tenant)

    @routes.get("/{tenant_id}/capabilities", summary="List what the app registration may do in a tenant")
    async def show_capabilities(tenant_id: TenantPath, _reader: Reader) -> CapabilitiesModel:
        """By operation, with the permissions that are missing; empty until the tenant was read."""
        async with db.read() as tx:
            tenant = await views.tenant(tx, tenant_id.lower())
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id}", code="tenant-not-found")
        operations = {
            name: CapabilityModel(allowed=bool(verdict.get("allowed")), missing=list(verdict.get("missing") or ()))
            for name, verdict in (tenant.capabilities or {}).items()
        }
        return CapabilitiesModel(tenant_id=tenant.tenant_id, observed_at=tenant.observed_at, operations=operations)

    return routes


async def _customer(views: Views, tx: Any, customer: str) -> CustomerView:
    found = await views.customer(tx, customer)
    if found is None:
        raise NotFound(
            f"there is no customer {customer!r}",
            code="customer-not-found",
            remedy="Apply the customer's configuration first, or look at GET /customers for the names.",
        )
    return found


def _invalid(faults: list[tuple[str, str]]) -> RequestValidationError:
    """The same problem document as for fields of the wrong shape."""
    return RequestValidationError(
        [
            {"loc": ("body", *pointer.strip("/").split("/")), "msg": message, "type": "configuration"}
            for pointer, message in faults
        ]
    )
