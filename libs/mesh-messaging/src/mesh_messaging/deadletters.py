"""Dead letters: what a consumer gave up, kept with its original bytes until a person decides.

Owns what becomes of a row of table `dead_letter`; `deadletters_rows.py` writes it. Refuses to handle anything itself:
a replay goes back on the retry ladder and through the same handlers.

    open --replay--> replaying --handled--> resolved
      |                  |
      |                  +--given up again--> open
      +--discard--> discarded
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import parked
from mesh_messaging.deadletters_rows import DEFAULT_CLOCK
from mesh_messaging.deadletters_sql import LIST, ONE, RESOLVE, SETTLE
from mesh_messaging.envelope import STRUCTURED_TYPE, CloudEvent, from_record
from mesh_messaging.inbox import admit
from mesh_messaging.records import RawRecord, load_headers
from mesh_runtime import faults
from mesh_runtime.clock import Clock
from mesh_runtime.errors import Conflict, NotFound

BEFORE_REPLAY = faults.declare("deadletter.before_replay", "the dead letter is locked, it is not on the ladder yet")
AFTER_REPLAY = faults.declare("deadletter.after_replay", "the message is on the ladder, the transaction is still open")

State = Literal["open", "replaying", "resolved", "discarded"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row. `source`, `event_id`, `type`, `tenant` are unset when the record is no event; times are UTC."""

    id: uuid.UUID
    consumer: str
    raw: RawRecord
    source: str | None
    event_id: str | None
    type: str | None
    tenant: str | None
    reason_code: str
    reason: str
    fingerprint: str
    attempts: int
    occurrences: int
    admitted: bool
    state: State
    created_at: datetime
    updated_at: datetime
    actor: str | None
    note: str | None


async def list_page(
    tx: AsyncConnection,
    after: uuid.UUID | None = None,
    limit: int = 50,
    filters: Mapping[str, str] | None = None,
) -> list[DeadLetter]:
    """The newest first, from the one older than `after`. `filters` may hold state, consumer, topic, type, tenant,
    code.
    """
    chosen = dict.fromkeys(("state", "consumer", "topic", "type", "tenant", "code")) | dict(filters or {})
    rows = await tx.execute(LIST, {"after": after, "limit": limit, **chosen})
    return [_letter(row) for row in rows]


async def get(tx: AsyncConnection, letter_id: uuid.UUID) -> DeadLetter:
    """One dead letter. Raises NotFound."""
    row = (await tx.execute(text(ONE), {"id": letter_id})).one_or_none()
    if row is None:
        raise NotFound(f"there is no dead letter {letter_id}", code="dead-letter-unknown")
    return _letter(row)


async def replay(
    tx: AsyncConnection,
    letter_id: uuid.UUID,
    *,
    actor: str,
    data: bytes | None = None,
    clock: Clock = DEFAULT_CLOCK,
) -> DeadLetter:
    """Put an open dead letter back on the retry ladder, due now, optionally with a repaired payload.

    `data` is the new payload, or a whole structured CloudEvent (an object with `specversion`) when the envelope
    itself is to be repaired. Raises NotFound; Conflict when the letter is not open or its event was handled
    meanwhile by another way; InvalidEnvelope when it is still no event.
    """
    letter = await _open_letter(tx, letter_id)
    raw = _repaired(letter.raw, data)
    event = from_record(raw.headers, raw.value, received_at=letter.created_at)
    if not letter.admitted and not await admit(tx, letter.consumer, [event]):
        raise Conflict(
            f"event {event.id} of {event.source} was taken over meanwhile", code="already-handled", remedy="discard it"
        )
    faults.fault_point(BEFORE_REPLAY)
    now = clock.now()
    await parked.park(tx, letter.consumer, [parked.NewParked(raw, 0, now, None, letter_id)], now)
    await _settle(
        tx, letter_id, "replaying", now, actor, note="replayed with repaired data" if data else None, event=event
    )
    faults.fault_point(AFTER_REPLAY)
    return replace(letter, state="replaying", updated_at=now, actor=actor)


async def discard(
    tx: AsyncConnection, letter_id: uuid.UUID, *, actor: str, reason: str, clock: Clock = DEFAULT_CLOCK
) -> DeadLetter:
    """Close an open dead letter for good; its bytes stay readable. Raises NotFound, or Conflict when it is not open."""
    letter = await _open_letter(tx, letter_id)
    now = clock.now()
    await _settle(tx, letter_id, "discarded", now, actor, note=reason)
    return replace(letter, state="discarded", updated_at=now, actor=actor, note=reason)


async def resolve(tx: AsyncConnection, letter_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Close replayed letters whose message has been handled in this transaction."""
    if letter_ids:
        await tx.execute(RESOLVE, {"ids": list(letter_ids), "now": now})


async def _open_letter(tx: AsyncConnection, letter_id: uuid.UUID) -> DeadLetter:
    row = (await tx.execute(text(f"{ONE} FOR UPDATE"), {"id": letter_id})).one_or_none()
    if row is None:
        raise NotFound(f"there is no dead letter {letter_id}", code="dead-letter-unknown")
    if row.state != "open":
        raise Conflict(f"the dead letter is {row.state}, not open", code="dead-letter-not-open")
    return _letter(row)


async def _settle(
    tx: AsyncConnection,
    letter_id: uuid.UUID,
    state: State,
    now: datetime,
    actor: str,
    *,
    note: str | None,
    event: CloudEvent | None = None,
) -> None:
    identity = (event.source, event.id, event.type, event.tenant) if event is not None else (None,) * 4
    parameters = dict(zip(("source", "event_id", "type", "tenant"), identity, strict=True))
    await tx.execute(SETTLE, {"id": letter_id, "state": state, "now": now, "actor": actor, "note": note, **parameters})


def _repaired(raw: RawRecord, data: bytes | None) -> RawRecord:
    if data is None:
        return raw
    structured = any(
        name.lower() == "content-type" and STRUCTURED_TYPE.encode() in value for name, value in raw.headers
    )
    if structured or _is_structured(data):
        kept = tuple((name, value) for name, value in raw.headers if name.lower() == "traceparent")
        return replace(raw, headers=(*kept, ("content-type", STRUCTURED_TYPE.encode())), value=data)
    return replace(raw, value=data)


def _is_structured(data: bytes) -> bool:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and "specversion" in document


def _letter(row: Any) -> DeadLetter:
    columns = dict(row._mapping)
    raw = RawRecord(
        columns.pop("topic"),
        columns.pop("partition"),
        columns.pop("record_offset"),
        columns.pop("key"),
        tuple(load_headers(columns.pop("headers"))),
        columns.pop("value"),
    )
    return DeadLetter(raw=raw, **columns)
