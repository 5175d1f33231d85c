"""The customer document as it is sent to PUT /customers/{customer}, and the rows it is kept as.

Owns shapes, limits and names of the document (contract: customer configuration). Refuses unknown fields, so that a
misspelt one is not silently ignored; what holds between the parts is checked in `domain.customer`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from orchestrator.domain import customer as domain
from orchestrator.domain.filters import VALUE_LENGTH_MAX, Filter, Row
from orchestrator.domain.numbers import RANGE_COUNT_MAX, InvalidNumberError, NumberRange, expand, parse

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=NO_CONTROL)]
Guid = Annotated[
    str,
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
Domain = Annotated[
    str,
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", min_length=4, max_length=48),
]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Settings = Annotated[dict[str, Any], Field(max_length=100)]
Policies = Annotated[
    dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,64}$")], str | None], Field(max_length=50)
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BootstrapSecret(_Model):
    """The first client secret of the app registration. It is sealed for cert-manager at once and never kept."""

    value: SecretStr = Field(min_length=1, max_length=1_000)


class ApplicationDocument(_Model):
    """The app registration the mesh uses in the tenant."""

    client_id: Guid
    object_id: Guid
    bootstrap_secret: BootstrapSecret | None = Field(
        None, description="Needed until the certificate is registered; may be left out afterwards"
    )


class TenantDocument(_Model):
    """A Microsoft tenant. `domain` is the verified domain that ends new sign-in names."""

    tenant_id: Guid
    name: Label
    organization: Domain = Field(description="The primary onmicrosoft domain")
    domain: Domain
    cloud: Literal["commercial", "gcc-high", "dod", "china"] = "commercial"
    application: ApplicationDocument


class SiteDefaults(_Model):
    """What people of the site get where their profile says nothing."""

    teams_policies: Policies = {}
    business_phone: Annotated[str, StringConstraints(max_length=64, pattern=NO_CONTROL)] | None = None


class SiteDocument(_Model):
    """A place people work at. `move` names the filter that decides who belongs here."""

    site: Slug
    name: Label
    country: Country
    usage_location: Country
    time_zone: Label = Field(description="IANA name such as Europe/Zurich; start dates begin at its midnight")
    language: Annotated[str, StringConstraints(max_length=35, pattern=NO_CONTROL)] | None = None
    tenant: Guid
    move: Label | None = None
    defaults: SiteDefaults = SiteDefaults()


class NumbersDocument(_Model):
    """Numbers of one site and kind: a range from `first` to `last`, or a list."""

    first: str | None = None
    last: str | None = None
    numbers: Annotated[tuple[str, ...], Field(max_length=RANGE_COUNT_MAX)] = ()
    type: Literal["DirectRouting", "CallingPlan", "OperatorConnect"]
    site: Slug
    location_id: Guid | None = Field(None, description="Emergency location, where the kind of number needs one")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        is_range = self.first is not None and self.last is not None
        if is_range == bool(self.numbers) or (self.first is None) != (self.last is None):
            raise ValueError("give either first and last, or numbers")
        try:
            self.expanded()
        except InvalidNumberError as error:
            raise ValueError(str(error)) from error
        return self

    def expanded(self) -> tuple[str, ...]:
        if self.first is not None and self.last is not None:
            return expand(self.first, self.last)
        for number in self.numbers:
            parse(number)
        return tuple(sorted(set(self.numbers), key=lambda number: (len(number), number)))

    @property
    def name(self) -> str:
        return f"{self.site}/{self.first or self.expanded()[0]}"


class RowDocument(_Model):
    """One row of a filter; rows are evaluated left to right, `next` joins with the following one."""

    attribute: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROL)]
    condition: Literal["equals", "contains", "regex"]
    value: Annotated[str, StringConstraints(max_length=VALUE_LENGTH_MAX)]
    ignore_case: bool = True
    negated: bool = Field(False, alias="not")
    joins: Literal["and", "or"] = Field("and", alias="next")


class FilterDocument(_Model):
    """A rule about a person's attributes; a missing attribute reads as the empty text."""

    filter: Label
    usage: Literal["move", "flow-through"]
    rows: Annotated[tuple[RowDocument, ...], Field(min_length=1, max_length=100)]


class LicenceDocument(_Model):
    """A licence by SKU part number or id, with the names or ids of service plans to leave out."""

    sku: Label
    disabled_plans: Annotated[tuple[Label, ...], Field(max_length=100)] = ()


class ProfileDocument(_Model):
    """What a kind of person gets."""

    profile: Label
    upn: Annotated[str, StringConstraints(max_length=200)] = Field(description="Template such as {given}.{surname}")
    display_name: Annotated[str, StringConstraints(max_length=200)] = "{given} {surname}"
    licences: Annotated[tuple[LicenceDocument, ...], Field(max_length=50)] = ()
    groups: Annotated[tuple[Label, ...], Field(max_length=100)] = ()
    mailbox: Settings = Field({}, description="Set-Mailbox parameters")
    cas_mailbox: Settings = Field({}, description="Set-CASMailbox parameters")
    teams_policies: Policies = {}
    number: Literal["required", "none"] = "none"
    manager: Literal["wait", "ignore"] = "wait"
    manager_wait_seconds: int = Field(86_400, ge=0, le=30 * 86_400)


class FlowThroughDocument(_Model):
    """The first row whose filter matches gives the profile."""

    filter: Label
    profile: Label


class CustomerDocument(_Model):
    """A customer's whole configuration; applying it again changes nothing."""

    customer: Slug
    name: Label
    tenants: Annotated[tuple[TenantDocument, ...], Field(min_length=1, max_length=50)]
    sites: Annotated[tuple[SiteDocument, ...], Field(max_length=2_000)] = ()
    numbers: Annotated[tuple[NumbersDocument, ...], Field(max_length=10_000)] = ()
    filters: Annotated[tuple[FilterDocument, ...], Field(max_length=5_000)] = ()
    profiles: Annotated[tuple[ProfileDocument, ...], Field(max_length=1_000)] = ()
    flow_through: Annotated[tuple[FlowThroughDocument, ...], Field(max_length=5_000)] = ()

    def to_domain(self) -> domain.Customer:
        return domain.Customer(
            customer=self.customer,
            name=self.name,
            tenants=tuple(_tenant(each) for each in self.tenants),
            sites=tuple(_site(each) for each in self.sites),
            numbers=tuple(NumberRange(n.site, n.expanded(), n.type, n.location_id) for n in self.numbers),
            filters=tuple(_filter(each) for each in self.filters),
            profiles=tuple(_profile(each) for each in self.profiles),
            flow_through=tuple(domain.FlowThrough(row.filter, row.profile) for row in self.flow_through),
        )

    def secrets(self) -> dict[str, str]:
        """Bootstrap secrets by tenant, where given."""
        given = {tenant.tenant_id: tenant.application.bootstrap_secret for tenant in self.tenants}
        return {tenant_id: secret.value.get_secret_value() for tenant_id, secret in given.items() if secret is not None}


KINDS = {"tenants": "tenant_id", "sites": "site", "numbers": None, "filters": "filter", "profiles": "profile"}


def to_rows(document: CustomerDocument) -> dict[tuple[str, str], dict[str, Any]]:
    """The document as rows (kind, name) -> JSON, without secrets; flow-through is one row because its order counts."""
    plain = document.model_dump(
        mode="json", by_alias=True, exclude={"tenants": {"__all__": {"application": {"bootstrap_secret"}}}}
    )
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, key in KINDS.items():
        for index, entry in enumerate(plain[kind]):
            name = document.numbers[index].name if key is None else entry[key]
            rows[kind, name] = entry
    rows["flow_through", "rows"] = {"rows": plain["flow_through"]}
    return rows


def from_rows(customer: str, name: str, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> CustomerDocument:
    """The inverse of `to_rows`."""
    document: dict[str, Any] = {"customer": customer, "name": name, **{kind: [] for kind in KINDS}}
    for (kind, _), entry in rows.items():
        if kind == "flow_through":
            document["flow_through"] = entry["rows"]
        else:
            document[kind].append(entry)
    return CustomerDocument.model_validate(document)


def _tenant(document: TenantDocument) -> domain.Tenant:
    return domain.Tenant(
        tenant_id=document.tenant_id,
        name=document.name,
        organization=document.organization,
        domain=document.domain,
        cloud=document.cloud,
        client_id=document.application.client_id,
        application_object_id=document.application.object_id,
    )


def _site(document: SiteDocument) -> domain.Site:
    return domain.Site(
        site=document.site,
        name=document.name,
        country=document.country,
        usage_location=document.usage_location,
        time_zone=document.time_zone,
        language=document.language,
        tenant_id=document.tenant,
        move=document.move,
        teams_policies=document.defaults.teams_policies,
        business_phone=document.defaults.business_phone,
    )


def _filter(document: FilterDocument) -> Filter:
    rows = (Row(r.attribute, r.condition, r.value, r.ignore_case, r.negated, r.joins) for r in document.rows)
    return Filter(document.filter, document.usage, tuple(rows))


def _profile(document: ProfileDocument) -> domain.Profile:
    return domain.Profile(
        profile=document.profile,
        upn=document.upn,
        display_name=document.display_name,
        licences=tuple(domain.Licence(each.sku, each.disabled_plans) for each in document.licences),
        groups=document.groups,
        mailbox=document.mailbox,
        cas_mailbox=document.cas_mailbox,
        teams_policies=document.teams_policies,
        number=document.number,
        manager=document.manager,
        manager_wait_seconds=document.manager_wait_seconds,
    )
