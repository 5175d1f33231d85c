"""Which relay sends which shards of the outbox: lease rows, shared fairly among the relays that live.

Owns tables `outbox_lease` and `outbox_relay`. All times are the database's, so skewed clocks of hosts do not
matter. A lease that runs out goes to another relay; the former holder can then only send duplicates, see
`relay.py`.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.schema import SHARD_COUNT

# Serialises the sharing-out of one database, so that two relays do not count each other's leases halfway. A relay that
# stalls in here is thrown out by the server after the length of a lease.
_LOCK = text("""
SELECT pg_try_advisory_xact_lock(hashtext('ucmesh_outbox_lease')) AS mine,
       set_config('idle_in_transaction_session_timeout', :milliseconds, true)
""")

_PRESENT = text("""
WITH gone AS (
    DELETE FROM outbox_relay WHERE expires_at < now() AND relay <> :relay
)
INSERT INTO outbox_relay (relay, expires_at) VALUES (:relay, now() + make_interval(secs => :seconds))
ON CONFLICT (relay) DO UPDATE SET expires_at = excluded.expires_at
""")

_LIVE = text("SELECT count(*) FROM outbox_relay WHERE expires_at >= now()")

_MINE = text("""
UPDATE outbox_lease SET expires_at = now() + make_interval(secs => :seconds)
WHERE relay = :relay AND expires_at >= now()
RETURNING shard
""")

_TAKE = text("""
UPDATE outbox_lease SET relay = :relay, expires_at = now() + make_interval(secs => :seconds)
WHERE shard IN (
    SELECT shard FROM outbox_lease WHERE relay IS NULL OR expires_at < now()
    ORDER BY shard LIMIT :count FOR UPDATE SKIP LOCKED
)
RETURNING shard
""")

_GIVE_BACK = text("""
UPDATE outbox_lease SET relay = NULL, expires_at = '-infinity'
WHERE relay = :relay AND shard = ANY (CAST(:shards AS smallint[]))
""")

_LEAVE = text("DELETE FROM outbox_relay WHERE relay = :relay")


@dataclass(frozen=True, slots=True)
class Share:
    """Shards held, and how many relays share the outbox; 0 when another relay was sharing out, so ask again soon."""

    shards: tuple[int, ...]
    relay_count: int


async def keep(tx: AsyncConnection, relay: str, seconds: float) -> Share:
    """Renew this relay's leases and move towards its fair share; call it only when no batch is on its way.

    Shards beyond the fair share are given back at once; free and expired ones are taken up to it.
    """
    is_mine = (await tx.execute(_LOCK, {"milliseconds": str(round(seconds * 1_000))})).one().mine
    if not is_mine:
        held = await tx.execute(_MINE, {"relay": relay, "seconds": seconds})
        return Share(tuple(sorted(held.scalars())), 0)
    await tx.execute(_PRESENT, {"relay": relay, "seconds": seconds})
    relay_count = max((await tx.execute(_LIVE)).scalar_one(), 1)
    share = -(-SHARD_COUNT // relay_count)
    mine = sorted((await tx.execute(_MINE, {"relay": relay, "seconds": seconds})).scalars())
    if len(mine) > share:
        await tx.execute(_GIVE_BACK, {"relay": relay, "shards": mine[share:]})
        mine = mine[:share]
    elif len(mine) < share:
        taken = await tx.execute(_TAKE, {"relay": relay, "seconds": seconds, "count": share - len(mine)})
        mine = sorted([*mine, *taken.scalars()])
    return Share(tuple(mine), relay_count)


async def leave(tx: AsyncConnection, relay: str) -> None:
    """Give everything back, so that others need not wait for the lease to run out."""
    await tx.execute(_GIVE_BACK, {"relay": relay, "shards": list(range(SHARD_COUNT))})
    await tx.execute(_LEAVE, {"relay": relay})
