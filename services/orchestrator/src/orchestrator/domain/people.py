"""People as the orchestrator keeps them, and what happens to a person when HR speaks.

    no plan under way   -> refused | waiting (the tenant is not ready) | a plan starts
    plan not yet made   -> the plan will see the new facts by itself
    plan under way      -> it ends first, then the difference is planned (`replan`)

Owns that decision. Refuses rows and messages.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.hr_event import HrEvent, filter_attributes, starts_at
from orchestrator.domain.ports import Refusal
from orchestrator.domain.profile import Placement, Rulebook

Stage = Literal["observing", "planned"]

# What `person show` says; "planning" and after are the plan's doing.
RECEIVED = "received"
WAITING = "waiting"
SCHEDULED = "scheduled"
PLANNING = "planning"
PROVISIONING = "provisioning"
PROVISIONED = "provisioned"
REFUSED = "refused"
COMPENSATED = "compensated"
HELD = "held"
CANCELLED = "cancelled"


@lean_dataclass(frozen=True, slots=True)
class Person:
    """A person row. `plan_id` is the last plan, `plan_stage` is unset when that plan has ended."""

    person_id: UUID
    customer: str
    employee_id: str
    sequence: int
    facts: Mapping[str, Any]
    effective_date: date | None = None
    traceparent: str | None = None
    status: str = RECEIVED
    site: str | None = None
    profile: str | None = None
    tenant_id: str | None = None
    plan_id: UUID | None = None
    plan_stage: Stage | None = None
    replan: bool = False
    upn: str | None = None
    user_id: str | None = None
    provisioned: Mapping[str, Any] | None = None

    @property
    def attributes(self) -> dict[str, str]:
        return filter_attributes(self.facts, self.employee_id)


@lean_dataclass(frozen=True, slots=True)
class Standing:
    """What is decided about a person and written to their row; `placement` and `not_before` serve to start the plan."""

    status: str
    site: str | None = None
    profile: str | None = None
    tenant_id: str | None = None
    refusal: Refusal | None = None
    plan_id: UUID | None = None
    plan_stage: Stage | None = None
    replan: bool = False
    placement: Placement | None = None
    not_before: datetime | None = None

    @property
    def starts_plan(self) -> bool:
        return self.plan_stage is not None or self.refusal is not None


def new_person(event: HrEvent, person_id: UUID, traceparent: str | None = None) -> Person:
    """The person an event speaks of, as if nothing was known before. `traceparent`: where the event has none."""
    return Person(
        person_id=person_id,
        customer=event.customer,
        employee_id=event.employee_id,
        sequence=event.sequence,
        facts=event.facts,
        effective_date=event.effective_date,
        traceparent=event.traceparent or traceparent,
    )


def stand(person: Person, rulebook: Rulebook, *, ready: frozenset[str], plan_id: UUID, now: datetime) -> Standing:
    """Where a person without a plan under way stands. `ready` names the tenants that can be planned for."""
    placement = rulebook.place(person.attributes)
    if isinstance(placement, Refusal):
        return Standing(REFUSED, refusal=placement, plan_id=plan_id)
    site, tenant_id = placement.site, placement.tenant.tenant_id
    if tenant_id not in ready:
        return Standing(WAITING, site.site, placement.profile.profile, tenant_id, placement=placement)
    not_before = starts_at(person.effective_date, site.time_zone, now)
    return Standing(
        PLANNING if not_before is None else SCHEDULED,
        site.site,
        placement.profile.profile,
        tenant_id,
        plan_id=plan_id,
        plan_stage="observing",
        placement=placement,
        not_before=not_before,
    )


def go_on(person: Person, standing: Standing, *, start_moved: bool) -> Standing:
    """The same for a person whose plan is under way: nothing starts now."""
    same_tenant = standing.tenant_id is None or standing.tenant_id == person.tenant_id
    sees_it = person.plan_stage == "observing" and same_tenant and not start_moved
    return Standing(
        person.status,
        standing.site if sees_it else person.site,
        standing.profile if sees_it else person.profile,
        person.tenant_id,
        plan_id=person.plan_id,
        plan_stage=person.plan_stage,
        replan=not sees_it,
    )


def is_outdated(standing: Standing) -> bool:
    """Whether a plan that still waits for its start date has to make way for another."""
    return standing.replan and standing.status == SCHEDULED
