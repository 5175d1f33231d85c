"""Table `parked_message`: messages that failed and wait for their next attempt, and those that wait behind them.

Owns the SQL. The oldest row of a key is its head; only heads are due, so a key's messages keep their order. The
lock on a head row, held by the transaction that handles it, is the lease on its key: it ends with the transaction
or its connection.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.failures import Failure
from mesh_messaging.records import RawRecord, dump_headers, load_headers

KeyPlace = tuple[str, bytes]
"""(topic, key): what order is kept for."""

_PARK = text("""
INSERT INTO parked_message (consumer, topic, partition, record_offset, key, headers, value, attempts, due_at,
                            reason_code, reason, fingerprint, dead_letter_id, parked_at)
SELECT :consumer, m.topic, m.partition, m.record_offset, m.key, m.headers::json, m.value, m.attempts, m.due_at,
       m.reason_code, m.reason, m.fingerprint, m.dead_letter_id, :now
FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]),
            CAST(:keys AS bytea[]), CAST(:headers AS text[]), CAST(:values AS bytea[]), CAST(:attempts AS integer[]),
            CAST(:dues AS timestamptz[]), CAST(:codes AS text[]), CAST(:reasons AS text[]),
            CAST(:fingerprints AS text[]), CAST(:dead_letters AS uuid[]))
    WITH ORDINALITY AS m (topic, partition, record_offset, key, headers, value, attempts, due_at, reason_code, reason,
                          fingerprint, dead_letter_id, place)
ORDER BY m.place
""")

_WAITING = text("""
SELECT k.topic, k.key, head.due_at
FROM unnest(CAST(:topics AS text[]), CAST(:keys AS bytea[])) AS k (topic, key)
CROSS JOIN LATERAL (
    SELECT p.due_at FROM parked_message p
    WHERE p.consumer = :consumer AND p.topic = k.topic AND p.key = k.key
    ORDER BY p.id LIMIT 1
) AS head
WHERE EXISTS (SELECT 1 FROM parked_message WHERE consumer = :consumer)
""")

_COLUMNS = """id, topic, partition, record_offset, key, headers::text AS headers, value, attempts, due_at, reason_code,
    reason, fingerprint, dead_letter_id, parked_at"""

_HEADS = """
    SELECT p.id, p.topic, p.key
    FROM parked_message p
    WHERE p.consumer = :consumer AND {chosen}
      AND (p.key IS NULL OR NOT EXISTS (
          SELECT 1 FROM parked_message earlier
          WHERE earlier.consumer = p.consumer AND earlier.topic = p.topic AND earlier.key = p.key
            AND earlier.id < p.id))
    ORDER BY p.due_at, p.id
    LIMIT :head_count
    FOR UPDATE OF p SKIP LOCKED
"""

_LEASE = """
WITH head AS MATERIALIZED ({heads})
SELECT head.id AS head_id, row.*
FROM head CROSS JOIN LATERAL (
    SELECT {columns} FROM parked_message WHERE id = head.id
    UNION ALL
    (SELECT {columns} FROM parked_message
     WHERE consumer = :consumer AND topic = head.topic AND key = head.key AND id > head.id
     ORDER BY id LIMIT :follower_count)
) AS row
ORDER BY row.id
"""

_LEASE_DUE = text(_LEASE.format(heads=_HEADS.format(chosen="p.due_at <= :now"), columns=_COLUMNS))
_LEASE_CHOSEN = text(_LEASE.format(heads=_HEADS.format(chosen="p.id = ANY (CAST(:ids AS bigint[]))"), columns=_COLUMNS))

_REMOVE = text("DELETE FROM parked_message WHERE id = ANY (CAST(:ids AS bigint[]))")

_POSTPONE = text("""
UPDATE parked_message SET
    due_at = :due_at,
    attempts = CASE WHEN id = :id THEN :attempts ELSE attempts END,
    reason_code = CASE WHEN id = :id THEN :reason_code ELSE reason_code END,
    reason = CASE WHEN id = :id THEN :reason ELSE reason END,
    fingerprint = CASE WHEN id = :id THEN :fingerprint ELSE fingerprint END
WHERE id = :id OR (consumer = :consumer AND topic = :topic AND key = :key AND due_at < :due_at)
""")

_NEXT_DUE = text("SELECT min(due_at) AS due_at, count(*) AS parked FROM parked_message WHERE consumer = :consumer")


@dataclass(frozen=True, slots=True)
class NewParked:
    """A message to park. `attempts` are the failed ones so far; 0 for one that only waits behind another."""

    raw: RawRecord
    attempts: int
    due_at: datetime
    failure: Failure | None = None
    dead_letter_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A leased row; `head_id` is the row whose lock covers it."""

    id: int
    head_id: int
    raw: RawRecord
    attempts: int
    dead_letter_id: uuid.UUID | None
    parked_at: datetime


async def park(tx: AsyncConnection, consumer: str, messages: Sequence[NewParked], now: datetime) -> None:
    """Write the messages, in order, in one statement."""
    if not messages:
        return
    raws = [message.raw for message in messages]
    failures = [message.failure for message in messages]
    await tx.execute(
        _PARK,
        {
            "consumer": consumer,
            "now": now,
            "topics": [raw.topic for raw in raws],
            "partitions": [raw.partition for raw in raws],
            "offsets": [raw.offset for raw in raws],
            "keys": [raw.key for raw in raws],
            "headers": [dump_headers(raw.headers) for raw in raws],
            "values": [raw.value for raw in raws],
            "attempts": [message.attempts for message in messages],
            "dues": [message.due_at for message in messages],
            "codes": [failure.code if failure else None for failure in failures],
            "reasons": [failure.message if failure else None for failure in failures],
            "fingerprints": [failure.fingerprint if failure else None for failure in failures],
            "dead_letters": [message.dead_letter_id for message in messages],
        },
    )


async def waiting_keys(tx: AsyncConnection, consumer: str, places: set[KeyPlace]) -> Mapping[KeyPlace, datetime]:
    """Which of the keys have a parked message, and when their head is due."""
    if not places:
        return {}
    ordered = sorted(places)
    rows = await tx.execute(
        _WAITING,
        {"consumer": consumer, "topics": [topic for topic, _ in ordered], "keys": [key for _, key in ordered]},
    )
    return {(row.topic, row.key): row.due_at for row in rows}


async def lease_due(
    tx: AsyncConnection, consumer: str, now: datetime, *, head_count: int, follower_count: int
) -> list[ParkedMessage]:
    """Lock the heads that are due and return them with up to `follower_count` messages behind each, in order."""
    parameters = {"consumer": consumer, "now": now, "head_count": head_count, "follower_count": follower_count}
    return [_parked(row) for row in await tx.execute(_LEASE_DUE, parameters)]


async def lease_heads(
    tx: AsyncConnection, consumer: str, ids: Sequence[int], *, follower_count: int
) -> list[ParkedMessage]:
    """Lock these rows again; those that another process took or ended meanwhile are left out."""
    parameters = {
        "consumer": consumer,
        "ids": list(ids),
        "head_count": len(ids),
        "follower_count": follower_count,
    }
    return [_parked(row) for row in await tx.execute(_LEASE_CHOSEN, parameters)]


async def remove(tx: AsyncConnection, ids: Sequence[int]) -> None:
    """Delete rows whose message was handled or given up."""
    await tx.execute(_REMOVE, {"ids": list(ids)})


async def postpone(
    tx: AsyncConnection, consumer: str, message: ParkedMessage, failure: Failure, due_at: datetime
) -> None:
    """Put a head on its next rung; what waits behind it becomes due with it, so it costs nothing meanwhile."""
    await tx.execute(
        _POSTPONE,
        {
            "consumer": consumer,
            "id": message.id,
            "topic": message.raw.topic,
            "key": message.raw.key,
            "due_at": due_at,
            "attempts": message.attempts + 1,
            "reason_code": failure.code,
            "reason": failure.message,
            "fingerprint": failure.fingerprint,
        },
    )


async def next_due(tx: AsyncConnection, consumer: str) -> tuple[datetime | None, int]:
    """When the next message is due, and how many are parked."""
    row = (await tx.execute(_NEXT_DUE, {"consumer": consumer})).one()
    return row.due_at, row.parked


def _parked(row: Any) -> ParkedMessage:
    raw = RawRecord(row.topic, row.partition, row.record_offset, row.key, tuple(load_headers(row.headers)), row.value)
    return ParkedMessage(row.id, row.head_id, raw, row.attempts, row.dead_letter_id, row.parked_at)
