"""Plans over HTTP: preview, list, look at, try again, cancel.

Owns paths, scopes and the words of the API document. A decision is made by the use cases; every answer is given after
their transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, status
from pydantic import BaseModel, Field

from mesh_runtime.auth import Principal, require
from mesh_runtime.db import Database
from mesh_runtime.paging import LIMIT_DEFAULT, After, Limit, Page, decode_cursor, encode_cursor
from orchestrator.application.cancel_plan import cancel_plan
from orchestrator.application.list_plans import list_plans
from orchestrator.application.plan_engine import PlanEngine
from orchestrator.application.preview_plan import preview_plan
from orchestrator.application.retry_plan import retry_plan
from orchestrator.application.show_plan import show_operations, show_plan
from orchestrator.domain.plan import PlanState
from orchestrator.domain.plan_ports import PlanFilter, PlanReadings
from orchestrator.domain.ports import PreviewSource
from orchestrator.entrypoints.parameters import NameQuery
from orchestrator.entrypoints.plan_models import (
    OperationView,
    PlanView,
    PreviewView,
    StateView,
    operation_view,
    plan_view,
    preview_view,
)

TAG = {
    "name": "plans",
    "description": "A plan is what one person's change sets out to do in the tenant: operations in their order, each "
    "proven by reading back, and undone in reverse when it cannot be finished.",
}

Reader = Annotated[Principal, Depends(require("mesh.read"))]
Writer = Annotated[Principal, Depends(require("mesh.write"))]


class PreviewRequest(BaseModel):
    """An HR event that is not sent, only tried."""

    customer: str = Field(min_length=1, max_length=100, description="Customer name as configured")
    event: dict[str, Any] = Field(
        description="Data of a `ucmesh.hr.person.v1.joined` or `.changed` event: employee_id, sequence, person, ...",
        examples=[
            {
                "customer": "northwind",
                "employee_id": "NW-1001",
                "sequence": 1,
                "person": {"given_name": "Zoë", "surname": "Müller", "city": "Zürich", "country": "CH"},
            }
        ],
    )


@dataclass(frozen=True, slots=True)
class PlanDoors:
    """What the endpoints open onto."""

    engine: PlanEngine
    readings: PlanReadings
    source: PreviewSource
    db: Database


def router(doors: PlanDoors) -> APIRouter:
    """The routes below /plans."""
    made = APIRouter(prefix="/plans", tags=["plans"])
    _reading(made, doors)
    _acting(made, doors)
    return made


def _reading(made: APIRouter, doors: PlanDoors) -> None:
    @made.get("", summary="List plans, newest first")
    async def list_(
        _caller: Reader,
        customer: NameQuery = None,
        state: Annotated[PlanState | None, Query(description="Only plans in this state")] = None,
        employee_id: NameQuery = None,
        after: After = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[PlanView]:
        """Pages by key: follow `next` until it is null. New plans do not move the pages behind you."""
        wanted = PlanFilter(customer, state, employee_id)
        page = await list_plans(doors.readings, doors.db, wanted, after=_plan_id(after), limit=limit)
        following = None if page.next_after is None else encode_cursor(str(page.next_after))
        return Page[PlanView](items=[plan_view(each) for each in page.plans], next=following)

    @made.get("/{plan_id}", summary="Show one plan", responses={404: {"description": "There is no such plan"}})
    async def show(_caller: Reader, plan_id: UUID) -> PlanView:
        """State, reason with remedy, counts, effects and the id of its trace."""
        return plan_view(await show_plan(doors.readings, doors.db, plan_id))

    @made.get(
        "/{plan_id}/operations",
        summary="Show the operations of a plan",
        responses={404: {"description": "There is no such plan"}},
    )
    async def operations(_caller: Reader, plan_id: UUID) -> list[OperationView]:
        """All operations of all tries in their order (at most 200 a try): what was read and changed, errors, undo."""
        return [operation_view(row) for row in await show_operations(doors.readings, doors.db, plan_id)]


def _acting(made: APIRouter, doors: PlanDoors) -> None:
    @made.post("/preview", summary="Preview an HR event", responses={404: {"description": "There is no such customer"}})
    async def preview(_caller: Reader, request: PreviewRequest) -> PreviewView:
        """Shows what the event would do now (before and after per operation, permissions, licences, number) or why it
        would be refused. Writes nothing and reserves nothing; based on what was last read of the person."""
        seen = await preview_plan(doors.source, doors.engine.planner, doors.db, request.customer, request.event)
        return preview_view(seen)

    @made.post(
        "/{plan_id}/retry",
        summary="Try an ended plan again",
        status_code=status.HTTP_202_ACCEPTED,
        responses={404: {"description": "There is no such plan"}, 409: {"description": "It succeeded or is under way"}},
    )
    async def retry(_caller: Writer, plan_id: UUID) -> StateView:
        """Reads the person anew and plans by today's rules; what is already there is kept. For refused, compensated,
        held and cancelled plans. 409 with the rules' reason when they would refuse again at once."""
        return StateView(plan_id=plan_id, state=await retry_plan(doors.engine, doors.db, plan_id))

    @made.post(
        "/{plan_id}/cancel",
        summary="Cancel a plan",
        status_code=status.HTTP_202_ACCEPTED,
        responses={404: {"description": "There is no such plan"}, 409: {"description": "It has already ended"}},
    )
    async def cancel(caller: Writer, plan_id: UUID) -> StateView:
        """Leaves out what has not begun and undoes what changed, in reverse order. On a held plan it tries the failed
        undos again. The answer may be `compensating`: watch the plan for its end."""
        state = await cancel_plan(doors.engine, doors.db, plan_id, actor=caller.subject)
        return StateView(plan_id=plan_id, state=state)


def _plan_id(after: str | None) -> UUID | None:
    if after is None:
        return None
    [plan_id] = decode_cursor(after, (UUID,))
    assert isinstance(plan_id, UUID)
    return plan_id
