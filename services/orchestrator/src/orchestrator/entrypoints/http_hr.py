"""POST /hr/events: the intake of HR systems over HTTP, as CloudEvents.

Owns the three content modes and the answers. The transaction is committed before the answer is given.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from mesh_messaging.binding_http import BATCH_TYPE, EnvelopeError, from_http
from mesh_messaging.envelope import STRUCTURED_TYPE, CloudEvent, InvalidEnvelope
from mesh_runtime.auth import Principal, require
from mesh_runtime.db import Database
from orchestrator import wire
from orchestrator.application import Rules
from orchestrator.entrypoints.hr_door import Bad, take_request

Sender = Annotated[Principal, Depends(require("hr.write"))]


class IntakeResult(BaseModel):
    """What became of one event of the request."""

    index: int = Field(description="Place in the request, from 0")
    id: str | None = Field(description="The event's id, where it could be read")
    status: Literal["accepted", "duplicate", "dead-lettered"] = Field(
        description="accepted: taken in (also when older than what is known, see reason); duplicate: taken in earlier, "
        "nothing changes; dead-lettered: kept aside with the reason, can be repaired and replayed under /dead-letters"
    )
    reason: str | None = None
    dead_letter_id: UUID | None = None
    plan_id: UUID | None = Field(None, description="The plan this event started or is part of")


class IntakeAnswer(BaseModel):
    """One result for each event, in the order of the request."""

    results: list[IntakeResult]


_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "examples": ["/hr/northwind"]},
        "type": {"enum": sorted(wire.HR_KINDS)},
        "subject": {"type": "string", "description": "The employee id"},
        "time": {"type": "string", "format": "date-time"},
        "data": wire.HrEventData.model_json_schema(),
    },
}

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED_TYPE: {"schema": _EVENT_SCHEMA},
            BATCH_TYPE: {"schema": {"type": "array", "maxItems": 5_000, "items": _EVENT_SCHEMA}},
            "application/json": {"schema": wire.HrEventData.model_json_schema()},
        },
    }
}


def router(db: Database, rules: Rules) -> APIRouter:
    """Routes under `/hr`; scope hr.write."""
    routes = APIRouter(prefix="/hr", tags=["HR events"])

    @routes.post("/events", summary="Send HR events", status_code=202, openapi_extra=_BODY)
    async def receive_events(request: Request, _sender: Sender) -> IntakeAnswer:
        """Takes one CloudEvent (structured, or binary with ce-* headers) or a batch of up to 5,000.

        A batch is taken in one transaction. A bad event of a batch costs only itself: it becomes a dead letter that can
        be repaired and replayed. A single bad event is answered with 422 and not kept. Sending an event again (same
        source and id) changes nothing.
        """
        is_batch = request.headers.get("content-type", "").startswith(BATCH_TYPE)
        items = _items(request.headers, await request.body(), is_batch=is_batch)
        async with db.transaction() as tx:
            results = await take_request(rules, tx, items, is_batch=is_batch)
        return IntakeAnswer(
            results=[
                IntakeResult(
                    index=index,
                    id=result.id,
                    status=result.status,
                    reason=result.reason,
                    dead_letter_id=result.dead_letter_id,
                    plan_id=result.plan_id,
                )
                for index, result in enumerate(results)
            ]
        )

    return routes


def _items(headers: Mapping[str, str], body: bytes, *, is_batch: bool) -> list[CloudEvent | Bad]:
    """Raises InvalidEnvelope for a request that is no CloudEvents request at all.

    The trace header of a batch request belongs to the request: each event keeps its own or gets a new one.
    """
    kept = {name: value for name, value in headers.items() if not (is_batch and name.lower() == "traceparent")}
    return [_item(each) for each in from_http(kept, body)]


def _item(item: CloudEvent | EnvelopeError) -> CloudEvent | Bad:
    if isinstance(item, EnvelopeError):
        return Bad(
            None, item.raw, InvalidEnvelope(item.reason, remedy="Correct the event's envelope and send it again.")
        )
    return item
