"""Writing dead letters: the rows, and their announcement on `<topic>.<consumer>.dlq` through the outbox.

Owns giving a message up, in the transaction of whoever gives it up. What may follow is in `deadletters.py`.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.deadletters_sql import INSERT, REOPEN
from mesh_messaging.envelope import DATA_BYTES_MAX, CloudEvent, InvalidEnvelope, format_time, from_record
from mesh_messaging.failures import Failure
from mesh_messaging.names import dead_letter_topic
from mesh_messaging.outbox import append_raw, record_bytes
from mesh_messaging.records import RawRecord, digest, dump_headers
from mesh_runtime import faults
from mesh_runtime.clock import Clock, IdGenerator, SystemClock, Uuid7Ids

BEFORE_PUT = faults.declare("deadletter.before_put", "the message is given up, no dead letter is written yet")
AFTER_PUT = faults.declare("deadletter.after_put", "the dead letter is written, the transaction is still open")

DEFAULT_IDS = Uuid7Ids()
DEFAULT_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A message to give up. `admitted`: its inbox row was written, so a replay must not ask the inbox again.

    `reopens` names the dead letter whose replay failed; unset for a first failure.
    """

    raw: RawRecord
    failure: Failure
    attempts: int
    admitted: bool
    reopens: uuid.UUID | None = None


async def put_many(
    tx: AsyncConnection,
    consumer: str,
    letters: Sequence[NewDeadLetter],
    *,
    ids: IdGenerator = DEFAULT_IDS,
    clock: Clock = DEFAULT_CLOCK,
) -> list[uuid.UUID]:
    """Write dead letters and announce them, in the caller's transaction; returns their ids in order.

    One that is open already with the same content is counted (`occurrences`), not written again.
    """
    if not letters:
        return []
    faults.fault_point(BEFORE_PUT)
    now = clock.now()
    reopened = [letter for letter in letters if letter.reopens is not None]
    fresh = [(letter, ids.new()) for letter in letters if letter.reopens is None]
    if reopened:
        await tx.execute(REOPEN, [_reopen_row(letter, now) for letter in reopened])
    counted = await _insert(tx, consumer, fresh, now) if fresh else {}
    given = iter(fresh)
    result: list[uuid.UUID] = []
    announced: list[RawRecord] = []
    for letter in letters:
        letter_id = letter.reopens or next(given)[1]
        if letter_id not in counted:
            announced.append(_announcement(consumer, letter_id, letter, now))
        result.append(counted.get(letter_id, letter_id))
    await append_raw(tx, announced)
    faults.fault_point(AFTER_PUT)
    return result


async def _insert(
    tx: AsyncConnection, consumer: str, letters: Sequence[tuple[NewDeadLetter, uuid.UUID]], now: datetime
) -> dict[uuid.UUID, uuid.UUID]:
    """Insert; returns {id not used: id of the equal open letter}."""
    raws = [letter.raw for letter, _ in letters]
    events = [_event_or_none(raw) for raw in raws]
    failures = [letter.failure for letter, _ in letters]
    rows = await tx.execute(
        INSERT,
        {
            "consumer": consumer,
            "now": now,
            "ids": [letter_id for _, letter_id in letters],
            "topics": [raw.topic for raw in raws],
            "partitions": [raw.partition for raw in raws],
            "offsets": [raw.offset for raw in raws],
            "keys": [raw.key for raw in raws],
            "headers": [dump_headers(raw.headers) for raw in raws],
            "values": [raw.value for raw in raws],
            "sources": [event.source if event else None for event in events],
            "event_ids": [event.id if event else None for event in events],
            "types": [event.type if event else None for event in events],
            "tenants": [event.tenant if event else None for event in events],
            "codes": [failure.code for failure in failures],
            "reasons": [failure.message for failure in failures],
            "fingerprints": [failure.fingerprint for failure in failures],
            "attempts": [letter.attempts for letter, _ in letters],
            "digests": [digest(raw) for raw in raws],
            "admitted": [letter.admitted for letter, _ in letters],
        },
    )
    return {row.unused: row.id for row in rows}


def _reopen_row(letter: NewDeadLetter, now: datetime) -> dict[str, Any]:
    return {
        "id": letter.reopens,
        "now": now,
        "attempts": letter.attempts,
        "headers": dump_headers(letter.raw.headers),
        "value": letter.raw.value,
        "code": letter.failure.code,
        "reason": letter.failure.message,
        "fingerprint": letter.failure.fingerprint,
    }


def _announcement(consumer: str, letter_id: uuid.UUID, letter: NewDeadLetter, now: datetime) -> RawRecord:
    """The record as it was, plus why and where it is kept; what is too large to send again stays in the table only."""
    raw = letter.raw
    facts = {
        "mesh_dead_letter_id": str(letter_id),
        "mesh_consumer": consumer,
        "mesh_topic": raw.topic,
        "mesh_partition": str(raw.partition),
        "mesh_offset": str(raw.offset),
        "mesh_reason_code": letter.failure.code,
        "mesh_reason": letter.failure.message,
        "mesh_fingerprint": letter.failure.fingerprint,
        "mesh_attempts": str(letter.attempts),
        "mesh_at": format_time(now),
    }
    value, original = raw.value, raw.headers
    if record_bytes(raw) > DATA_BYTES_MAX:
        value, original = None, ()
        facts["mesh_record_bytes"] = str(record_bytes(raw))
    headers = (*original, *((name, fact.encode()) for name, fact in facts.items()))
    # A record needs a key or a value.
    key = raw.key if raw.key is not None or value is not None else b""
    return RawRecord(dead_letter_topic(raw.topic, consumer), -1, -1, key, headers, value)


def _event_or_none(raw: RawRecord) -> CloudEvent | None:
    try:
        return from_record(raw.headers, raw.value)
    except InvalidEnvelope:
        return None
