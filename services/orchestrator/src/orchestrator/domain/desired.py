"""What should be there, and the difference to what is.

    HR facts + profile + site + the tenant's licences and groups  ->  Desired
    Desired - ObservedUser - Provisioned                          ->  Difference (empty after success)

Owns the mapping from HR fields to Microsoft's attributes. Refuses what the tenant cannot give: an unknown licence or
service plan, an unknown or ambiguous group, a number without a phone licence.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from mesh_runtime.values import lean_dataclass
from orchestrator.domain import naming
from orchestrator.domain.customer import Licence
from orchestrator.domain.observed import NOTHING_PROVISIONED, ObservedUser, Provisioned, Sku, TenantFacts
from orchestrator.domain.ports import Refusal
from orchestrator.domain.profile import Placement

# Service plans that bring a mailbox (EXCHANGE_S_FOUNDATION does not), Teams, and telephony (microsoft.md 2.9).
MAILBOX_PLANS = frozenset(
    {
        "EXCHANGE_S_STANDARD",
        "EXCHANGE_S_ENTERPRISE",
        "EXCHANGE_S_DESKLESS",
        "EXCHANGE_B_STANDARD",
        "EXCHANGE_L_STANDARD",
    }
)
TEAMS_PLANS = frozenset({"TEAMS1", "TEAMS_GOV", "TEAMS_FREE", "MCOSTANDARD"})
PHONE_PLAN = "MCOEV"

_ATTRIBUTES = {
    "givenName": "given_name",
    "surname": "surname",
    "jobTitle": "job_title",
    "department": "department",
    "companyName": "company",
    "officeLocation": "office",
    "city": "city",
    "country": "country",
    "mobilePhone": "mobile_phone",
}
_ABSENT = object()
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@lean_dataclass(frozen=True, slots=True)
class DesiredLicence:
    sku_id: str
    part_number: str
    disabled_plans: frozenset[str] = frozenset()


@lean_dataclass(frozen=True, slots=True)
class Desired:
    """The person's whole target state. `groups` maps ids to display names; `manager` is an employee id."""

    attributes: Mapping[str, Any]
    licences: tuple[DesiredLicence, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    mailbox: Mapping[str, Any] = field(default_factory=dict)
    cas_mailbox: Mapping[str, Any] = field(default_factory=dict)
    teams_policies: Mapping[str, str | None] = field(default_factory=dict)
    has_mailbox: bool = False
    has_teams: bool = False
    wants_number: bool = False
    manager: str | None = None
    manager_wait_seconds: int = 0


@lean_dataclass(frozen=True, slots=True)
class Difference:
    """What a plan has to do; every part is empty when it is already so.

    `attributes` are those to write: all of them for a new user. `seats` are the SKUs that need a free seat.
    """

    user: ObservedUser | None
    attributes: Mapping[str, Any]
    add_licences: tuple[DesiredLicence, ...]
    remove_licences: tuple[str, ...]
    add_groups: Mapping[str, str]
    remove_groups: Mapping[str, str]
    mailbox: Mapping[str, Any]
    cas_mailbox: Mapping[str, Any]
    teams_policies: Mapping[str, str | None]
    needs_number: bool
    needs_manager: bool

    @property
    def is_new(self) -> bool:
        return self.user is None

    @property
    def seats(self) -> tuple[str, ...]:
        held = self.user.licences if self.user else {}
        return tuple(licence.sku_id for licence in self.add_licences if licence.sku_id not in held)

    @property
    def is_empty(self) -> bool:
        return not (
            self.is_new
            or self.attributes
            or self.add_licences
            or self.remove_licences
            or self.add_groups
            or self.remove_groups
            or self.mailbox
            or self.cas_mailbox
            or self.teams_policies
            or self.needs_number
            or self.needs_manager
        )


def desire(facts: Mapping[str, Any], employee_id: str, placement: Placement, tenant: TenantFacts) -> Desired | Refusal:
    """The target state of one person, or the refusal that names what the tenant lacks."""
    profile, site = placement.profile, placement.site
    licences: list[DesiredLicence] = []
    plans: set[str] = set()
    for wanted in profile.licences:
        sku = tenant.sku(wanted.sku)
        licence = _licence(wanted, sku, profile.profile)
        if isinstance(licence, Refusal):
            return licence
        licences.append(licence)
        plans |= (
            {name for name, plan_id in sku.plans.items() if plan_id not in licence.disabled_plans} if sku else set()
        )
    groups = _groups(profile.groups, tenant)
    if isinstance(groups, Refusal):
        return groups
    wants_number = profile.number == "required"
    if wants_number and PHONE_PLAN not in plans and not profile.groups:
        return _no_phone_licence(profile.profile)
    policies = {**site.teams_policies, **profile.teams_policies}
    manager = facts.get("manager_employee_id") if profile.manager == "wait" else None
    return Desired(
        attributes=_attributes(facts, employee_id, placement),
        licences=tuple(licences),
        groups=groups,
        mailbox=profile.mailbox,
        cas_mailbox=profile.cas_mailbox,
        teams_policies=policies,
        has_mailbox=bool(plans & MAILBOX_PLANS or profile.mailbox or profile.cas_mailbox),
        has_teams=bool(plans & TEAMS_PLANS or policies or wants_number),
        wants_number=wants_number,
        manager=str(manager) if manager and manager != employee_id else None,
        manager_wait_seconds=profile.manager_wait_seconds,
    )


def _attributes(facts: Mapping[str, Any], employee_id: str, placement: Placement) -> dict[str, Any]:
    site = placement.site
    attributes: dict[str, Any] = {
        "displayName": naming.display_name(placement.profile.display_name, facts, employee_id),
        "usageLocation": site.usage_location,
        "accountEnabled": True,
    }
    for graph_name, fact in _ATTRIBUTES.items():
        if facts.get(fact):
            attributes[graph_name] = facts[fact]
    language = facts.get("preferred_language") or site.language
    if language:
        attributes["preferredLanguage"] = language
    phone = facts.get("business_phone") or site.business_phone
    if phone:
        attributes["businessPhones"] = [phone]  # Graph takes one entry at most
    return attributes


def _licence(wanted: Licence, sku: Sku | None, profile: str) -> DesiredLicence | Refusal:
    if sku is None:
        return Refusal(
            "licence-unknown",
            f"Profile {profile!r} wants licence {wanted.sku!r}, which the tenant has not subscribed to.",
            "Correct the SKU name in the profile, or buy the licence; then test the tenant and retry this plan.",
        )
    unknown = [plan for plan in wanted.disabled_plans if plan not in sku.plans and plan not in sku.plans.values()]
    if unknown:
        return Refusal(
            "service-plan-unknown",
            f"Profile {profile!r} disables {unknown[0]!r}, which licence {sku.part_number} does not contain.",
            "Correct disabled_plans in the profile, apply the configuration and retry this plan.",
        )
    disabled = frozenset(sku.plans.get(plan, plan) for plan in wanted.disabled_plans)
    return DesiredLicence(sku.sku_id, sku.part_number, disabled)


def _groups(names: Iterable[str], tenant: TenantFacts) -> dict[str, str] | Refusal:
    groups: dict[str, str] = {}
    for name in names:
        found = tenant.group(name)
        if not found and not tenant.knows_all_groups and _GUID.fullmatch(name):
            groups[name.lower()] = name
            continue
        if not found:
            return Refusal(
                "group-unknown",
                f"The tenant has no group {name!r}."
                + ("" if tenant.knows_all_groups else " It has more groups than were read; name it by its object id."),
                "Create the group or correct its name in the profile; then test the tenant and retry this plan.",
            )
        if len(found) > 1:
            return Refusal(
                "group-ambiguous",
                f"The tenant has {len(found)} groups called {name!r}.",
                f"Name the group by its object id in the profile (one of {', '.join(gid for gid, _ in found[:5])}).",
            )
        group_id, display_name = found[0]
        groups[group_id] = display_name
    return groups


def _no_phone_licence(profile: str) -> Refusal:
    return Refusal(
        "phone-licence-missing",
        f"Profile {profile!r} requires a number, but none of its licences contains Teams Phone ({PHONE_PLAN}).",
        "Add a licence with Teams Phone to the profile or set number to none, apply it and retry this plan.",
    )


def difference(
    desired: Desired, user: ObservedUser | None, proved: Provisioned, *, manager_id: str | None = None
) -> Difference:
    """What is missing. `manager_id` is the manager's user id where the mesh knows it.

    What the read did not return is compared with what the last plan proved; for a new user nothing is proved.
    """
    if user is None:
        proved = NOTHING_PROVISIONED
    held = user.licences if user else {}
    member_of = user.group_ids if user else frozenset()
    wanted_skus = {licence.sku_id for licence in desired.licences}
    return Difference(
        user=user,
        attributes=_changed_attributes(desired.attributes, user, proved.attributes),
        add_licences=tuple(
            licence for licence in desired.licences if held.get(licence.sku_id) != licence.disabled_plans
        ),
        remove_licences=tuple(sku for sku in proved.licences if sku in held and sku not in wanted_skus),
        add_groups={gid: name for gid, name in desired.groups.items() if gid not in member_of},
        remove_groups={
            gid: name for gid, name in proved.groups.items() if gid in member_of and gid not in desired.groups
        },
        mailbox=_changed(desired.mailbox, proved.mailbox),
        cas_mailbox=_changed(desired.cas_mailbox, proved.cas_mailbox),
        teams_policies=_changed(desired.teams_policies, proved.teams_policies)
        | {name: None for name in proved.teams_policies if name not in desired.teams_policies},
        needs_number=desired.wants_number and proved.number is None,
        needs_manager=desired.manager is not None
        and (user is None or manager_id is None or user.manager_id != manager_id),
    )


def _changed(desired: Mapping[str, Any], proved: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in desired.items() if proved.get(name, _ABSENT) != value}


def _changed_attributes(
    desired: Mapping[str, Any], user: ObservedUser | None, proved: Mapping[str, Any]
) -> dict[str, Any]:
    known = {**proved, **(user.attributes if user else {})}
    changed = _changed(desired, known)
    for name in proved:
        if name not in desired:  # HR no longer states it
            changed[name] = [] if name == "businessPhones" else None
    return changed


def as_json(desired: Desired) -> dict[str, Any]:
    """The JSON form that is stored with the person and read back by `observed.provisioned`."""
    return {
        "attributes": dict(desired.attributes),
        "licences": [
            {"sku_id": each.sku_id, "part_number": each.part_number, "disabled_plans": sorted(each.disabled_plans)}
            for each in desired.licences
        ],
        "groups": dict(desired.groups),
        "mailbox": dict(desired.mailbox),
        "cas_mailbox": dict(desired.cas_mailbox),
        "teams_policies": dict(desired.teams_policies),
        "has_mailbox": desired.has_mailbox,
        "has_teams": desired.has_teams,
        "wants_number": desired.wants_number,
        "manager": desired.manager,
    }
