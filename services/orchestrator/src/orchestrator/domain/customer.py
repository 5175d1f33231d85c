"""A customer's configuration: tenants, sites, numbers, filter criteria, profiles and which profile a person gets.

Owns the values and the rules that hold between them (`faults`): every reference must lead somewhere, every expression
and template must be usable. Refuses secrets: a bootstrap secret never becomes part of a configuration.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import available_timezones

from orchestrator.domain.filters import Filter, InvalidPatternError, compile_test
from orchestrator.domain.naming import InvalidTemplateError, check_template
from orchestrator.domain.numbers import InvalidNumberError, NumberRange, region

NUMBERS_COUNT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """A Microsoft tenant and the app registration the mesh uses in it; `domain` ends the UPNs it makes."""

    tenant_id: str
    name: str
    organization: str
    domain: str
    cloud: str
    client_id: str
    application_object_id: str


@dataclass(frozen=True, slots=True)
class Site:
    """A place people work at; `move` names the filter that says who. Defaults apply where a profile says nothing."""

    site: str
    name: str
    country: str
    usage_location: str
    time_zone: str
    language: str | None
    tenant_id: str
    move: str | None
    teams_policies: Mapping[str, str | None] = field(default_factory=dict)
    business_phone: str | None = None


@dataclass(frozen=True, slots=True)
class Licence:
    sku: str
    disabled_plans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of person gets: names by rule, licences, groups, mailbox settings, Teams policies, a number."""

    profile: str
    upn: str
    display_name: str
    licences: tuple[Licence, ...] = ()
    groups: tuple[str, ...] = ()
    mailbox: Mapping[str, Any] = field(default_factory=dict)
    cas_mailbox: Mapping[str, Any] = field(default_factory=dict)
    teams_policies: Mapping[str, str | None] = field(default_factory=dict)
    number: str = "none"  # "required" | "none"
    manager: str = "wait"  # "wait" | "ignore"
    manager_wait_seconds: int = 86_400


@dataclass(frozen=True, slots=True)
class FlowThrough:
    """First matching row wins."""

    filter: str
    profile: str


@dataclass(frozen=True, slots=True)
class Customer:
    customer: str
    name: str
    tenants: tuple[Tenant, ...]
    sites: tuple[Site, ...]
    numbers: tuple[NumberRange, ...]
    filters: tuple[Filter, ...]
    profiles: tuple[Profile, ...]
    flow_through: tuple[FlowThrough, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document; `pointer` is a JSON pointer to the field."""

    pointer: str
    message: str


def faults(customer: Customer) -> list[Fault]:
    """Everything wrong between the parts of a configuration, in document order; [] means it can be applied."""
    return [
        *_repeated("tenants", [tenant.tenant_id for tenant in customer.tenants], "tenant_id"),
        *_repeated("sites", [site.site for site in customer.sites], "site"),
        *_repeated("filters", [criteria.name for criteria in customer.filters], "filter"),
        *_repeated("profiles", [profile.profile for profile in customer.profiles], "profile"),
        *_site_faults(customer),
        *_number_faults(customer),
        *_filter_faults(customer.filters),
        *_profile_faults(customer.profiles),
        *_flow_through_faults(customer),
    ]


def _repeated(kind: str, names: Iterable[str], key: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Fault(f"/{kind}/{index}/{key}", f"{name!r} is there twice")
        seen.add(name)


def _site_faults(customer: Customer) -> Iterator[Fault]:
    tenants = {tenant.tenant_id for tenant in customer.tenants}
    usages = {criteria.name: criteria.usage for criteria in customer.filters}
    zones = available_timezones()
    for index, site in enumerate(customer.sites):
        at = f"/sites/{index}"
        if site.tenant_id not in tenants:
            yield Fault(f"{at}/tenant", f"no tenant {site.tenant_id!r} in this document")
        if site.time_zone not in zones:
            yield Fault(f"{at}/time_zone", f"{site.time_zone!r} is not an IANA time zone such as Europe/Zurich")
        if site.move is not None:
            yield from _usage_fault(f"{at}/move", site.move, "move", usages)


def _usage_fault(pointer: str, name: str, wanted: str, usages: Mapping[str, str]) -> Iterator[Fault]:
    if name not in usages:
        yield Fault(pointer, f"no filter {name!r} in this document")
    elif usages[name] != wanted:
        yield Fault(pointer, f"filter {name!r} has usage {usages[name]!r}, here it must be {wanted!r}")


def _number_faults(customer: Customer) -> Iterator[Fault]:
    sites = {site.site: site for site in customer.sites}
    owners: dict[str, int] = {}
    for index, block in enumerate(customer.numbers):
        at = f"/numbers/{index}"
        site = sites.get(block.site)
        if site is None:
            yield Fault(f"{at}/site", f"no site {block.site!r} in this document")
        twice = next((number for number in block.numbers if number in owners), None)
        if twice is not None:
            yield Fault(at, f"{twice} is already in /numbers/{owners[twice]}")
        owners.update(dict.fromkeys(block.numbers, index))
        if block.type == "CallingPlan" and site is not None:
            yield from _country_fault(at, block, site)
    if len(owners) > NUMBERS_COUNT_MAX:
        yield Fault("/numbers", f"{len(owners)} numbers; a customer may have at most {NUMBERS_COUNT_MAX}")


def _country_fault(at: str, block: NumberRange, site: Site) -> Iterator[Fault]:
    try:
        country = region(block.numbers[0])
    except InvalidNumberError as error:
        yield Fault(at, str(error))
        return
    if country is not None and country != site.usage_location:
        yield Fault(
            f"{at}/type",
            f"Calling Plan numbers of {country} cannot serve site {site.site!r} with usage location "
            f"{site.usage_location}: Microsoft refuses the assignment",
        )


def _filter_faults(filters: Iterable[Filter]) -> Iterator[Fault]:
    for index, criteria in enumerate(filters):
        for number, row in enumerate(criteria.rows):
            try:
                compile_test(row)
            except InvalidPatternError as error:
                yield Fault(f"/filters/{index}/rows/{number}/value", str(error))


def _profile_faults(profiles: Iterable[Profile]) -> Iterator[Fault]:
    for index, profile in enumerate(profiles):
        for name, template in (("upn", profile.upn), ("display_name", profile.display_name)):
            try:
                check_template(template)
            except InvalidTemplateError as error:
                yield Fault(f"/profiles/{index}/{name}", str(error))
        skus = [licence.sku for licence in profile.licences]
        yield from _repeated(f"profiles/{index}/licences", skus, "sku")
        yield from _repeated(f"profiles/{index}/groups", profile.groups, "")


def _flow_through_faults(customer: Customer) -> Iterator[Fault]:
    usages = {criteria.name: criteria.usage for criteria in customer.filters}
    profiles = {profile.profile for profile in customer.profiles}
    for index, row in enumerate(customer.flow_through):
        at = f"/flow_through/{index}"
        yield from _usage_fault(f"{at}/filter", row.filter, "flow-through", usages)
        if row.profile not in profiles:
            yield Fault(f"{at}/profile", f"no profile {row.profile!r} in this document")
