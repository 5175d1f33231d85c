"""From facts to a joiner's plan without a database: what the planner decides, minus the reservations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from orchestrator.domain.desired import Desired, desire, difference
from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.observed import Provisioned, Sku, TenantFacts, observed_user
from orchestrator.domain.people import Person
from orchestrator.domain.plan import Plan
from orchestrator.domain.ports import Refusal
from orchestrator.domain.profile import Placement, Rulebook
from orchestrator.participants.pacing import Pacing
from orchestrator.plans.joiner import Joiner, joiner
from support.plan_script import PLAN_ID, TENANT
from support.rules_customer import ALL_STAFF, OBSERVATION, VOICE_USERS, customer, hr_data

UPN = "zoe.muller@northwind.example"
NUMBER = FreeNumber("+41445551000", "DirectRouting", None)


def tenant_facts(**changes: Any) -> TenantFacts:
    skus: dict[str, Sku] = {}
    for seen in OBSERVATION["skus"]:
        plans = {plan["servicePlanName"]: plan["servicePlanId"] for plan in seen["servicePlans"]}
        sku = Sku(seen["skuId"], seen["skuPartNumber"], plans)
        skus |= {sku.sku_id: sku, sku.part_number: sku}
    groups = {"all staff": ((ALL_STAFF, "All Staff"),), "voice users": ((VOICE_USERS, "Voice Users"),)}
    return TenantFacts(**{"tenant_id": TENANT, "skus": skus, "groups": groups, **changes})


def person(**facts: Any) -> Person:
    return Person(UUID(int=2), "northwind", "NW-1", 1, hr_data(**facts)["person"], tenant_id=TENANT)


def placement(**facts: Any) -> Placement:
    found = Rulebook(customer(), 1).place(person(**facts).attributes)
    assert isinstance(found, Placement)
    return found


def desired(**facts: Any) -> Desired:
    found = wanted(**facts)
    assert isinstance(found, Desired)
    return found


def wanted(tenant: TenantFacts | None = None, profile: dict[str, Any] | None = None, **facts: Any) -> Desired | Refusal:
    """The desired state; `profile` replaces fields of the voice profile."""
    profiles = [dict(each) for each in customer_profiles()]
    profiles[0] |= profile or {}
    placed = Rulebook(customer(profiles=profiles), 1).place(person(**facts).attributes)
    assert isinstance(placed, Placement)
    return desire(person(**facts).facts, "NW-1", placed, tenant or tenant_facts())


def customer_profiles() -> list[dict[str, Any]]:
    from support.rules_customer import document

    return list(document()["profiles"])


def joiner_plan(
    user: dict[str, Any] | None = None,
    proved: Provisioned | None = None,
    manager_id: str | None = None,
    number: FreeNumber | None = NUMBER,
    **facts: Any,
) -> Plan:
    """The plan of a person observed as `user`, with what was proved before."""
    state = desired(**facts)
    seen = observed_user({"user": user})
    missing = difference(state, seen, proved or Provisioned(), manager_id=manager_id)
    placed = placement(**facts)
    return joiner(
        Joiner(
            plan_id=PLAN_ID,
            person_id=UUID(int=2),
            customer="northwind",
            tenant_id=TENANT,
            employee_id="NW-1",
            upn=seen.upn if seen else UPN,
            site=placed.site.site,
            profile=placed.profile.profile,
            desired=state,
            difference=missing,
            proved_policies=(proved or Provisioned()).teams_policies,
            number=number,
            manager_id=manager_id,
        ),
        Pacing(),
    )
