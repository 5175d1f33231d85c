"""The seed file: what a tenant holds when the simulator starts or a test asks for one. Owns the format (documented in
the README) and its validation; building the tenant from it is tenant_builder.py's."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Guid = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", to_lower=True)]
Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+\.[A-Za-z]{2,}$", to_lower=True)]
E164 = Annotated[str, StringConstraints(pattern=r"^\+[1-9]\d{4,14}$")]
NumberType = Literal["DirectRouting", "CallingPlan", "OperatorConnect"]
RANGE_MAX = 10_000


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PlanSpec(Spec):
    id: Guid
    name: str
    service: str = "unknown"


class SkuSpec(Spec):
    """A product by its known part number, or in full with `sku_id` and `plans`."""

    part_number: str
    seats: int = Field(ge=0)
    warning: int = Field(default=0, ge=0)
    sku_id: Guid | None = None
    plans: list[PlanSpec] | None = None
    status: Literal["Enabled", "Warning", "Suspended", "Deleted", "LockedOut"] = "Enabled"
    assigned_elsewhere: int = Field(
        default=0, ge=0, description="seats already consumed by people who are not in the seed"
    )


class GroupSpec(Spec):
    display_name: str
    id: Guid | None = None
    mail_nickname: str | None = None
    kind: Literal["security", "microsoft365", "distribution", "dynamic"] = "security"
    synced: bool = False
    members: list[str] = []  # user principal names


class NumberSpec(Spec):
    """One `number`, or a range `first`..`last` of the same length."""

    number: E164 | None = None
    first: E164 | None = None
    last: E164 | None = None
    type: NumberType
    location_id: Guid | None = None
    city: str | None = None
    country: str | None = None
    assigned_to: str | None = Field(
        default=None, description="a user principal name, or 'outside' for a holder unknown to the directory"
    )

    @model_validator(mode="after")
    def _one_form(self) -> "NumberSpec":
        if (self.number is None) == (self.first is None or self.last is None):
            raise ValueError("give either number or first and last")
        if self.first and self.last and not 0 <= int(self.last) - int(self.first) < RANGE_MAX:
            raise ValueError(f"last must not be before first, and a range holds at most {RANGE_MAX} numbers")
        return self


class UserSpec(Spec):
    """`properties` are Graph properties; at least userPrincipalName."""

    properties: dict[str, Any]
    id: Guid | None = None
    manager: str | None = None
    licences: list[str] = []
    groups: list[str] = []
    number: E164 | None = None
    policies: dict[str, str] = {}
    settled: bool = True  # mailbox and Teams are there from the start
    mailbox: dict[str, Any] = {}  # settings of Set-Mailbox and Set-CASMailbox
    cas_mailbox: dict[str, Any] = {}


class SecretSpec(Spec):
    value: str = Field(min_length=8)
    display_name: str | None = None
    expires_in_seconds: float = 180 * 24 * 3600


class CertificateSpec(Spec):
    certificate: str = Field(description="PEM, or base64 of the DER")
    display_name: str | None = None
    expires_in_seconds: float | None = None  # unset: with the certificate


class ApplicationSpec(Spec):
    client_id: Guid
    object_id: Guid | None = None
    display_name: str = "ucmesh"
    secrets: list[SecretSpec] = []
    certificates: list[CertificateSpec] = []
    roles: list[str] = []
    exchange_roles: list[str] = ["Exchange.ManageAsApp"]
    directory_roles: list[str] = ["Teams Administrator", "Exchange Administrator"]
    owners: list[Guid] | None = None  # client ids; unset: the application owns itself
    enabled: bool = True


class TenantSpec(Spec):
    tenant_id: Guid
    display_name: str
    initial_domain: Domain
    domains: list[Domain] = []
    federated_domains: list[Domain] = []
    country: str = "CH"
    size: Literal["S", "M", "L"] | None = None  # throttle class; unset: by number of users
    skus: list[SkuSpec] = []
    groups: list[GroupSpec] = []
    policies: dict[str, list[str]] = {}  # policy type -> names beside the built-in ones
    global_policies: dict[str, str] = {}
    numbers: list[NumberSpec] = []
    users: list[UserSpec] = []
    applications: list[ApplicationSpec] = []
    knobs: dict[str, Any] = {}


class SeedFile(Spec):
    knobs: dict[str, Any] = {}
    tenants: list[TenantSpec]
