"""Dead letters over HTTP: list, look at, replay, discard.

Owns the shapes of the answers. Refuses decisions: they are in `deadletters.py`. Lists show no payloads; one letter
does.
"""

import base64
import uuid
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from mesh_messaging import deadletters
from mesh_messaging.deadletters import DeadLetter, State
from mesh_messaging.deadletters_rows import DEFAULT_CLOCK
from mesh_messaging.records import key_text
from mesh_runtime.auth import Principal, require
from mesh_runtime.clock import Clock
from mesh_runtime.db import Database
from mesh_runtime.paging import LIMIT_DEFAULT, After, Limit, Page, decode_cursor, encode_cursor


class DeadLetterSummary(BaseModel):
    """One dead letter without its payload. `offset` and `partition` are -1 for what came in over HTTP."""

    id: uuid.UUID
    state: State
    consumer: str
    topic: str
    partition: int
    offset: int
    key: str | None
    source: str | None
    event_id: str | None
    type: str | None
    tenant: str | None
    reason_code: str
    reason: str
    fingerprint: str
    attempts: int
    occurrences: int
    created_at: datetime
    updated_at: datetime
    actor: str | None
    note: str | None


class DeadLetterView(DeadLetterSummary):
    """The same with the original headers and payload: `data` when it is JSON, else `data_base64`."""

    headers: list[tuple[str, str]]
    data: Any | None = None
    data_base64: str | None = None


class ReplayRequest(BaseModel):
    """`data` replaces the payload; an object with `specversion` replaces the whole event; absent = as it was."""

    model_config = ConfigDict(extra="forbid")
    data: Any | None = None


class DiscardRequest(BaseModel):
    """Why nobody will need this message."""

    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, Field(min_length=1, max_length=500)]


Reader = Annotated[Principal, Depends(require("mesh.read"))]
Admin = Annotated[Principal, Depends(require("mesh.admin"))]
Name = Annotated[str | None, Query(max_length=255)]


def router(db: Database, clock: Clock = DEFAULT_CLOCK) -> APIRouter:
    """Routes under `/dead-letters` on this service's own dead letters. Scopes: mesh.read, mesh.admin."""
    routes = APIRouter(prefix="/dead-letters", tags=["dead letters"])

    @routes.get("", summary="List dead letters, newest first")
    async def list_dead_letters(
        *,
        _reader: Reader,
        state: State | None = None,
        consumer: Name = None,
        topic: Name = None,
        type: Name = None,  # noqa: A002 - the attribute's name
        tenant: Name = None,
        code: Name = None,
        after: After = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[DeadLetterSummary]:
        wanted = {"state": state, "consumer": consumer, "topic": topic, "type": type, "tenant": tenant, "code": code}
        filters = {name: value for name, value in wanted.items() if value is not None}
        async with db.read() as tx:
            letters = await deadletters.list_page(tx, _cursor(after), limit + 1, filters)
        page = letters[:limit]
        following = encode_cursor(str(page[-1].id)) if len(letters) > limit else None
        return Page[DeadLetterSummary](items=[DeadLetterSummary(**_summary(letter)) for letter in page], next=following)

    @routes.get("/{letter_id}", summary="Show one dead letter with its original payload")
    async def show_dead_letter(letter_id: uuid.UUID, _reader: Reader) -> DeadLetterView:
        async with db.read() as tx:
            return _view(await deadletters.get(tx, letter_id))

    @routes.post("/{letter_id}/replay", summary="Send one dead letter through its handlers again", status_code=202)
    async def replay_dead_letter(
        letter_id: uuid.UUID, admin: Admin, request: ReplayRequest | None = None
    ) -> DeadLetterSummary:
        given = request.data if request is not None else None
        data = orjson.dumps(given) if given is not None else None
        async with db.transaction() as tx:
            letter = await deadletters.replay(tx, letter_id, actor=admin.subject, data=data, clock=clock)
        return DeadLetterSummary(**_summary(letter))

    @routes.post("/{letter_id}/discard", summary="Close one dead letter without handling it")
    async def discard_dead_letter(letter_id: uuid.UUID, request: DiscardRequest, admin: Admin) -> DeadLetterSummary:
        async with db.transaction() as tx:
            letter = await deadletters.discard(tx, letter_id, actor=admin.subject, reason=request.reason, clock=clock)
        return DeadLetterSummary(**_summary(letter))

    return routes


def _cursor(after: str | None) -> uuid.UUID | None:
    if after is None:
        return None
    (letter_id,) = decode_cursor(after, (uuid.UUID,))
    return letter_id if isinstance(letter_id, uuid.UUID) else None


def _summary(letter: DeadLetter) -> dict[str, Any]:
    fields = {name: getattr(letter, name) for name in DeadLetterSummary.model_fields if hasattr(letter, name)}
    raw = letter.raw
    return fields | {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset, "key": key_text(raw.key)}


def _view(letter: DeadLetter) -> DeadLetterView:
    value = letter.raw.value
    headers = [(name, raw.decode("utf-8", "backslashreplace")) for name, raw in letter.raw.headers]
    view = DeadLetterView(**_summary(letter), headers=headers)
    if value is None:
        return view
    try:
        view.data = orjson.loads(value)
    except orjson.JSONDecodeError:
        view.data_base64 = base64.b64encode(value).decode()
    return view
