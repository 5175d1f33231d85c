"""Shapes of the answers about customers and tenants."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from orchestrator.domain.configuration import TenantRow


class ChangeModel(BaseModel):
    """One row of the configuration that differed."""

    kind: str = Field(description="tenants, sites, numbers, filters, profiles or flow_through")
    name: str
    action: Literal["added", "changed", "removed"]
    fields: list[str] = Field(description="Which of its fields differ")


class TenantModel(BaseModel):
    """A tenant as it stands."""

    tenant_id: str
    customer: str
    name: str
    organization: str
    domain: str
    state: str = Field(description="registering: no working certificate yet; ready; failed: see reason")
    state_at: datetime
    reason: dict[str, Any] | None = Field(description="Why registration failed, with a remedy")
    credential_id: str | None
    credential_not_after: datetime | None
    observed_at: datetime | None = Field(description="When licences, groups and permissions were last read")
    observation_error: dict[str, Any] | None = Field(description="Why the last read failed")


class TenantTestModel(TenantModel):
    """A tenant after a read was asked for."""

    fresh: bool


class AppliedModel(BaseModel):
    """What applying the document changed."""

    customer: str
    version: int
    changed: bool
    changes: list[ChangeModel]
    tenants: list[TenantModel]
    registering: list[str] = Field(description="Tenants whose registration was asked for by this request")


class CustomerSummary(BaseModel):
    """A customer in a list."""

    customer: str
    name: str
    version: int
    applied_at: datetime
    applied_by: str


class CustomerModel(CustomerSummary):
    """A customer with its configuration."""

    document: dict[str, Any]
    tenants: list[TenantModel]


class HistoryModel(BaseModel):
    """One version of one configuration row."""

    kind: str
    name: str
    version: int
    removed: bool
    applied_at: datetime
    applied_by: str
    document: dict[str, Any]


class NumberModel(BaseModel):
    """A number of the inventory. `listed` false: in use, but no longer in the configuration."""

    number: str
    site: str
    type: str
    location_id: str | None
    status: str
    listed: bool
    employee_id: str | None
    plan_id: UUID | None
    note: str | None = Field(description="Why a number nobody holds is not offered")
    changed_at: datetime


class SeatModel(BaseModel):
    """A licence pool: available = total - consumed (as the tenant says) - held (promised to plans since)."""

    tenant_id: str
    sku_id: str
    part_number: str
    capability_status: str
    total: int
    consumed: int
    held: int
    available: int
    observed_at: datetime


class CapabilityModel(BaseModel):
    """Whether an operation is allowed, and the permissions it lacks if not."""

    allowed: bool
    missing: list[str]


class CapabilitiesModel(BaseModel):
    """By operation."""

    tenant_id: str
    observed_at: datetime | None
    operations: dict[str, CapabilityModel]


def tenant_model(row: TenantRow) -> TenantModel:
    """A tenant row for the API; capabilities have a route of their own."""
    observation = row.observation or {}
    return TenantModel(
        tenant_id=row.tenant_id,
        customer=row.customer,
        name=row.name,
        organization=row.organization,
        domain=row.domain,
        state=row.state,
        state_at=row.state_at,
        reason=dict(row.reason) if row.reason else None,
        credential_id=row.credential_id,
        credential_not_after=row.credential_not_after,
        observed_at=row.observed_at,
        observation_error=observation.get("error"),
    )
