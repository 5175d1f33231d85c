"""What tests of a service need to look at messages: the outbox as a list.

Owns reading for assertions. Refuses fakes: tests use the real PostgreSQL.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.envelope import from_record
from mesh_messaging.outbox import OutboundMessage
from mesh_messaging.records import key_text, load_headers
from mesh_messaging.schema import MESSAGING_SCHEMA_V1

_DRAIN = text("DELETE FROM outbox RETURNING id, topic, key, headers::text AS headers, value")


async def create_tables(tx: AsyncConnection) -> None:
    """Create the messaging tables in an empty database."""
    for statement in MESSAGING_SCHEMA_V1:
        await tx.execute(text(statement))


async def drain_outbox(tx: AsyncConnection) -> Sequence[OutboundMessage]:
    """Take all messages out of the outbox, in the order they were appended. Raises InvalidEnvelope for raw records."""
    rows = sorted((await tx.execute(_DRAIN)).all(), key=lambda row: row.id)
    return [
        OutboundMessage(row.topic, key_text(row.key) or "", from_record(load_headers(row.headers), row.value))
        for row in rows
    ]
