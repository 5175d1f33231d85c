"""The outbox: what a use case says to the world, written in the transaction that makes it true.

Owns the way into table `outbox` and the wake-up of the relays. Refuses to talk to Apache Kafka: the relay does,
after commit.
"""

import zlib
from collections.abc import Sequence

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.envelope import DATA_BYTES_MAX, CloudEvent, header_pairs
from mesh_messaging.records import RawRecord, dump_headers
from mesh_messaging.schema import SHARD_COUNT
from mesh_runtime import faults
from mesh_runtime.errors import InvalidInput, TooLarge
from mesh_runtime.values import lean_dataclass

CHANNEL = "ucmesh_outbox"
"""The PostgreSQL notification channel that wakes the relays of this database."""
KEY_BYTES_MAX = 1_024
"""Longest key of a message, in bytes."""
RECORD_BYTES_MAX = 950_000
"""Largest record, headers and key included, in bytes; a larger one would be refused by the broker for ever."""

BEFORE_APPEND = faults.declare("outbox.before_append", "the use case has decided, nothing is in the outbox yet")
AFTER_APPEND = faults.declare("outbox.after_append", "the outbox rows are written, the transaction is still open")

_APPEND = text("""
WITH appended AS (
    INSERT INTO outbox (shard, topic, key, headers, value)
    SELECT m.shard, m.topic, m.key, m.headers::json, m.value
    FROM unnest(CAST(:shards AS smallint[]), CAST(:topics AS text[]), CAST(:keys AS bytea[]),
                CAST(:headers AS text[]), CAST(:values AS bytea[]))
        WITH ORDINALITY AS m (shard, topic, key, headers, value, place)
    ORDER BY m.place
)
SELECT pg_notify(:channel, '')
""")


@lean_dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One event on its way to `topic`; messages of one topic and key are delivered in the order they were appended."""

    topic: str
    key: str
    event: CloudEvent


async def append(tx: AsyncConnection, messages: Sequence[OutboundMessage]) -> None:
    """Write the messages in the caller's transaction, in one statement, and wake the relays when it commits.

    Raises TooLarge for a payload beyond DATA_BYTES_MAX or a record beyond RECORD_BYTES_MAX, and InvalidInput for a key
    that is empty or beyond KEY_BYTES_MAX.
    """
    if not messages:
        return
    keys = [_key(message) for message in messages]
    headers = [_headers(message) for message in messages]
    await _write(
        tx, [message.topic for message in messages], keys, headers, [message.event.data for message in messages]
    )


async def append_raw(tx: AsyncConnection, records: Sequence[RawRecord]) -> None:
    """Write records byte by byte as they are (dead letters are announced this way). Keyless ones have no order.

    Raises TooLarge for a record beyond RECORD_BYTES_MAX.
    """
    if not records:
        return
    for record in records:
        if record_bytes(record) > RECORD_BYTES_MAX:
            raise TooLarge(f"a record for {record.topic} is larger than {RECORD_BYTES_MAX} bytes")
    headers = [dump_headers(record.headers) for record in records]
    topics = [record.topic for record in records]
    await _write(tx, topics, [record.key for record in records], headers, [record.value for record in records])


def shard_of(key: bytes | None) -> int:
    """The shard in which all messages of this key wait."""
    return zlib.crc32(key or b"") % SHARD_COUNT


def _key(message: OutboundMessage) -> bytes:
    key = message.key.encode()
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise InvalidInput(f"a message key has 1 to {KEY_BYTES_MAX} bytes, not {len(key)}", code="invalid-key")
    if len(message.event.data) > DATA_BYTES_MAX:
        raise TooLarge(f"the payload of {message.event.type} is larger than {DATA_BYTES_MAX} bytes")
    return key


def record_bytes(record: RawRecord) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _headers(message: OutboundMessage) -> str:
    headers = orjson.dumps(header_pairs(message.event))
    if len(headers) + len(message.event.data) > RECORD_BYTES_MAX:
        raise TooLarge(f"a record of {message.event.type} is larger than {RECORD_BYTES_MAX} bytes")
    return headers.decode()


async def _write(
    tx: AsyncConnection,
    topics: list[str],
    keys: Sequence[bytes | None],
    headers: list[str],
    values: Sequence[bytes | None],
) -> None:
    faults.fault_point(BEFORE_APPEND)
    await tx.execute(
        _APPEND,
        {
            "shards": [shard_of(key) for key in keys],
            "topics": topics,
            "keys": list(keys),
            "headers": headers,
            "values": list(values),
            "channel": CHANNEL,
        },
    )
    faults.fault_point(AFTER_APPEND)
