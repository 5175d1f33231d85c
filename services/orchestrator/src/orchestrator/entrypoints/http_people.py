"""GET /people: who is known, where they stand, and desired against observed for one person.

Owns the shapes of the answers; reads only.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from mesh_runtime.auth import Principal, require
from mesh_runtime.db import Database
from mesh_runtime.paging import LIMIT_DEFAULT, After, Limit, Page, encode_cursor
from orchestrator.application import PersonShown, list_plans, show_person
from orchestrator.domain.plan_ports import PlanFilter, PlanReadings
from orchestrator.domain.views import PersonView, Views
from orchestrator.entrypoints.parameters import CustomerPath, EmployeePath, NameQuery, text_key
from orchestrator.entrypoints.plan_models import PlanView, ReasonView, plan_view

Reader = Annotated[Principal, Depends(require("mesh.read"))]
PLANS_SHOWN_MAX = 20


class PersonSummary(BaseModel):
    """One person in a list."""

    person_id: UUID
    customer: str
    employee_id: str
    display_name: str | None
    status: str = Field(
        description="waiting (for the tenant), scheduled, planning, provisioning, provisioned, refused, compensated, "
        "held or cancelled"
    )
    reason: ReasonView | None = Field(description="Why the person is not provisioned")
    site: str | None
    profile: str | None
    tenant_id: str | None
    user_principal_name: str | None
    number: str | None
    licences: list[str]
    plan_id: UUID | None = Field(description="The last plan")
    updated_at: datetime


class LineModel(BaseModel):
    """One thing the person should have against what was last read back."""

    workload: Literal["entra", "exchange", "teams"]
    item: str
    desired: Any
    observed: Any
    verdict: Literal["same", "differs", "missing", "not-read"]


class PersonDetail(PersonSummary):
    """A person with everything known about them."""

    sequence: int
    effective_date: date | None
    facts: dict[str, Any] = Field(description="What HR said last")
    user_id: str | None
    lines: list[LineModel] = Field(description="Desired against observed; empty before a plan was made")
    observed_at: datetime | None
    created_at: datetime
    plans: list[PlanView] = Field(description=f"The last {PLANS_SHOWN_MAX} plans, newest first")


def router(db: Database, views: Views, readings: PlanReadings) -> APIRouter:
    """Routes under `/people`; scope mesh.read."""
    routes = APIRouter(prefix="/people", tags=["people"])

    @routes.get("", summary="List people")
    async def list_people(
        _reader: Reader,
        customer: NameQuery = None,
        status: NameQuery = None,
        after: After = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[PersonSummary]:
        """Ordered by customer and employee id."""
        key = text_key(after, 2)
        async with db.read() as tx:
            people = await views.people(
                tx,
                customer=customer,
                status=status,
                after=(key[0], key[1]) if key else None,
                limit=limit + 1,
            )
        page = people[:limit]
        following = encode_cursor(page[-1].customer, page[-1].employee_id) if len(people) > limit else None
        return Page[PersonSummary](items=[PersonSummary(**_summary(person)) for person in page], next=following)

    @routes.get("/{customer}/{employee_id}", summary="Show one person: desired against observed")
    async def show_one_person(customer: CustomerPath, employee_id: EmployeePath, _reader: Reader) -> PersonDetail:
        """Older plans of the person are under `GET /plans?customer=&employee_id=`."""
        async with db.read() as tx:
            shown = await show_person(views, tx, customer, employee_id)
        wanted = PlanFilter(customer, None, employee_id)
        page = await list_plans(readings, db, wanted, after=None, limit=PLANS_SHOWN_MAX)
        return _detail(shown, [plan_view(each) for each in page.plans])

    return routes


def _detail(shown: PersonShown, plans: list[PlanView]) -> PersonDetail:
    person = shown.person
    return PersonDetail(
        **_summary(person),
        sequence=person.sequence,
        effective_date=person.effective_date,
        facts=dict(person.facts),
        user_id=person.user_id,
        lines=[
            LineModel(
                workload=line.workload,
                item=line.item,
                desired=line.desired,
                observed=line.observed,
                verdict=line.verdict,
            )
            for line in shown.lines
        ],
        observed_at=person.observed_at,
        created_at=person.created_at,
        plans=plans,
    )


def _summary(person: PersonView) -> dict[str, Any]:
    return {
        "person_id": person.person_id,
        "customer": person.customer,
        "employee_id": person.employee_id,
        "display_name": _display_name(person),
        "status": person.status,
        "reason": person.refusal,
        "site": person.site,
        "profile": person.profile,
        "tenant_id": person.tenant_id,
        "user_principal_name": person.upn,
        "number": person.number,
        "licences": [licence["part_number"] for licence in (person.desired or {}).get("licences", ())],
        "plan_id": person.plan_id,
        "updated_at": person.updated_at,
    }


def _display_name(person: PersonView) -> str | None:
    attributes: Mapping[str, Any] = (person.desired or {}).get("attributes") or {}
    facts = person.facts
    plain = " ".join(str(facts[name]) for name in ("given_name", "surname") if facts.get(name))
    return attributes.get("displayName") or facts.get("display_name") or plain or None
