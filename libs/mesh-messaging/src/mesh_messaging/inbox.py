"""The inbox: which events a consumer has taken over, so that a second delivery changes nothing.

Owns table `inbox`. An event is identified by (consumer, source, id), as CloudEvents defines identity. Refuses to
remember outcomes: a row says only "this consumer's database holds the effect, the parked message or the dead
letter".
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.event import CloudEvent

KEEP = timedelta(days=30)
"""How long an event is remembered; longer than any topic keeps it, or a replay could handle it twice."""

# Sorted, so that two members handling the same events after a rebalance wait for each other instead of deadlocking.
_ADMIT = text("""
INSERT INTO inbox (consumer, source, id)
SELECT :consumer, e.source, e.id
FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS e (source, id)
ORDER BY e.source, e.id
ON CONFLICT DO NOTHING
RETURNING source, id
""")

_PRUNE = text("""
DELETE FROM inbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM inbox WHERE consumer = :consumer AND received_at < :before LIMIT :count
))
""")


async def admit(tx: AsyncConnection, consumer: str, events: Sequence[CloudEvent]) -> set[tuple[str, str]]:
    """Record the events in the caller's transaction, in one statement; returns the (source, id) of those that are new.

    When another open transaction admits the same event, waits for its end.
    """
    return await admit_identities(tx, consumer, [(event.source, event.id) for event in events])


async def admit_identities(
    tx: AsyncConnection, consumer: str, identities: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """The same by (source, id)."""
    if not identities:
        return set()
    result = await tx.execute(
        _ADMIT,
        {
            "consumer": consumer,
            "sources": [source for source, _ in identities],
            "ids": [identity for _, identity in identities],
        },
    )
    return {(row.source, row.id) for row in result}


async def prune(tx: AsyncConnection, consumer: str, before: datetime, *, row_count_max: int = 10_000) -> int:
    """Forget events received before `before` (at most `row_count_max`); returns how many.

    Older events would be handled again if delivered again, so `before` must lie behind the retention of the topics.
    """
    result = await tx.execute(_PRUNE, {"consumer": consumer, "before": before, "count": row_count_max})
    return result.rowcount
