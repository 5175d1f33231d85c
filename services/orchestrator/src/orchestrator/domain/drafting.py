"""From an observed person to what a plan would need: everything the planner decides before it reserves anything.

Owns drafts and the words of shortages. Refuses IO: the caller brings people, rules, tenant facts and what is kept.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mesh_runtime.values import lean_dataclass
from orchestrator.domain import naming
from orchestrator.domain.desired import Desired, Difference, desire, difference
from orchestrator.domain.hr_event import starts_at
from orchestrator.domain.naming import upn_candidate
from orchestrator.domain.observed import ObservedUser, TenantFacts, observed_user, provisioned, taken_upns
from orchestrator.domain.people import Person
from orchestrator.domain.ports import PlanningRequest, Refusal
from orchestrator.domain.profile import Placement
from orchestrator.domain.reservations import Claim, NoName, NoNumbers, NoSeats, Shortage, UpnChoice
from orchestrator.domain.stores import NOTHING_KEPT, Kept, Shelf

ORDINAL_SEARCH_MAX = 50
RETRY = "then retry this plan."


@lean_dataclass(frozen=True, slots=True)
class Draft:
    """One person ready to reserve for. `kept` is what the person holds already, `manager_id` the known user id."""

    request: PlanningRequest
    person: Person
    placement: Placement
    desired: Desired
    difference: Difference
    kept: Kept
    manager_id: str | None
    not_before: datetime | None

    @property
    def keeps_number(self) -> bool:
        """Whether the number the person holds can stay: in use, or reserved at the right site."""
        return self.kept.number is not None and (
            self.kept.number_used or self.kept.number_site == self.placement.site.site
        )


def draft(
    request: PlanningRequest,
    person: Person,
    placement: Placement,
    *,
    tenant: TenantFacts,
    kept: Kept,
    manager_id: str | None,
    now: datetime,
) -> Draft | Refusal:
    """What the person should have, what differs, and whether the app registration may do it."""
    desired = desire(person.facts, person.employee_id, placement, tenant)
    if isinstance(desired, Refusal):
        return desired
    user = observed_user(request.observed)
    number_in_use = kept.number.number if kept.number is not None and kept.number_used else None
    proved = provisioned(person.provisioned, number_in_use)
    missing = difference(desired, user, proved, manager_id=manager_id)
    denied = _denied(missing, tenant)
    if denied is not None:
        return denied
    not_before = starts_at(person.effective_date, placement.site.time_zone, now)
    return Draft(request, person, placement, desired, missing, kept, manager_id, not_before)


def _denied(missing: Difference, tenant: TenantFacts) -> Refusal | None:
    """Refuse before the first write what the token's roles do not allow."""
    needed = {
        "user.ensure": missing.is_new,
        "user.patch": not missing.is_new and bool(missing.attributes),
        "licence.assign": bool(missing.add_licences or missing.remove_licences),
        "group.add-member": bool(missing.add_groups),
        "group.remove-member": bool(missing.remove_groups),
    }
    for operation, is_needed in needed.items():
        if is_needed and operation in tenant.denied:
            permissions = ", ".join(tenant.denied[operation]) or "a permission"
            return Refusal(
                "permission-missing",
                f"The app registration may not do {operation}: {permissions} is not granted.",
                f"Grant {permissions} with admin consent, test the tenant, {RETRY}",
            )
    return None


def claim(drafted: Draft) -> Claim:
    """What must be reserved for the draft: only what the person does not hold yet."""
    person, placement, missing = drafted.person, drafted.placement, drafted.difference
    local = naming.local_part(placement.profile.upn, person.facts, person.employee_id)
    taken = taken_upns(drafted.request.observed)
    needs_number = missing.needs_number and not drafted.keeps_number
    return Claim(
        plan_id=drafted.request.plan_id,
        person_id=person.person_id,
        tenant_id=placement.tenant.tenant_id,
        customer=person.customer,
        local=local,
        domain=placement.tenant.domain,
        taken=taken,
        kept_upn=_kept_upn(missing.user, drafted.kept, local, placement.tenant.domain, taken),
        seats=tuple(sku for sku in missing.seats if sku not in drafted.kept.seats),
        site=placement.site.site if needs_number else None,
        takes_over=drafted.kept != NOTHING_KEPT,
    )


def _kept_upn(
    user: ObservedUser | None, kept: Kept, local: str, domain: str, taken: frozenset[str]
) -> UpnChoice | None:
    if user is not None:
        return _as_choice(user.upn.lower(), local, domain)
    return next((choice for choice in kept.upns if choice.upn.endswith(f"@{domain}") and choice.upn not in taken), None)


def _as_choice(upn: str, local: str, domain: str) -> UpnChoice:
    """An existing name seen as an alternative of the rule's name, so that colleagues skip it."""
    for ordinal in range(1, ORDINAL_SEARCH_MAX if local else 1):
        if upn_candidate(local, domain, ordinal) == upn:
            return UpnChoice(upn, upn_candidate(local, domain, 1), ordinal)
    return UpnChoice(upn, upn, 1)


def shortage_refusal(shortage: Shortage, drafted: Draft, shelves: Mapping[tuple[str, str], Shelf]) -> Refusal:
    """The refusal an admin reads: which pool or range is empty, with its counts."""
    tenant = drafted.placement.tenant.name
    match shortage:
        case NoSeats(pool=pool):
            state = "" if pool.total else f" (the subscription is {pool.capability_status})"
            return Refusal(
                "no-seats",
                f"Licence pool {pool.part_number} of tenant {tenant} has no free seat: {pool.total} bought{state}, "
                f"{pool.consumed} in use, {pool.held} promised to other plans.",
                f"Buy or free licences, test the tenant so that the mesh counts again, {RETRY}",
            )
        case NoNumbers(customer=customer, site=site):
            return _no_numbers(site, shelves.get((customer, site)))
        case NoName(taken=()):
            return Refusal(
                "name-unusable",
                "Nothing of the person's names or employee id can be written in a sign-in name.",
                f"Correct the name in HR, or change the profile's upn template, {RETRY}",
            )
        case NoName(taken=taken):
            return Refusal(
                "names-taken",
                f"All names from {taken[0].upn} to {taken[-1].upn} belong to other users of tenant {tenant}.",
                "Retry this plan: the next ten names will be looked at.",
            )


def _no_numbers(site: str, shelf: Shelf | None) -> Refusal:
    if shelf is None or shelf.first is None:
        counted = "it has no numbers at all"
    else:
        counted = (
            f"{shelf.total} in {shelf.first} to {shelf.last}, {shelf.used} used, "
            f"{shelf.reserved} promised to other plans"
        )
    return Refusal(
        "no-numbers",
        f"Site {site!r} has no free number: {counted}.",
        f"Add numbers to the site in the customer's configuration, apply it, {RETRY}",
    )


def stored(desired_json: Mapping[str, Any], number: str | None) -> dict[str, Any]:
    """The desired state as noted with the person; the number is for people to read."""
    return {**desired_json, "number": number}
