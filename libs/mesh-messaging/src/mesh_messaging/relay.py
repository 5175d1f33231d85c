"""The relay: takes committed messages out of the outbox and hands them to Apache Kafka.

Owns the way out of table `outbox`. Refuses to hold a transaction open while it talks to the broker: a lease on the
shard, not a row lock, keeps other relays away.

    claim (lease still mine) -> send one batch per partition -> await once -> delete what was acknowledged
              |                          |
              |                          +-- crash here: sent again by the next holder, the inbox absorbs it
              +-- paused here until the lease is lost: on waking sends what the new holder has sent or sends too

Order within a key survives all of it: a relay sends a shard in id order, and whatever it repeats, every message of
the key that comes before was sent before.
"""

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Sequence

import asyncpg
from aiokafka.errors import KafkaError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import leases, metrics
from mesh_messaging.outbox import CHANNEL
from mesh_messaging.sending import ClaimedMessage, ProducerFactory, Sender
from mesh_runtime import faults
from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause

BEFORE_SEND = faults.declare("relay.before_send", "a batch is claimed, nothing of it is sent yet")
AFTER_SEND = faults.declare("relay.after_send", "the batch is acknowledged, its rows are still in the outbox")
AFTER_DELETE = faults.declare("relay.after_delete", "the batch is acknowledged and its rows are gone")

LEASE_SECONDS = 5.0
POLL_SECONDS_MAX = 0.5
"""Idle polls slow down to this; notifications and new leases do not wait for it."""
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0
MEASURE_SECONDS = 5.0
DEPTH_COUNT_MAX = 100_000
"""The depth is not counted beyond this."""
SHARD_BATCH_SIZE_MIN = 50

_CLAIM = text("""
SELECT o.shard, o.id, o.topic, o.key, o.headers::text AS headers, o.value
FROM outbox_lease AS l
CROSS JOIN LATERAL (
    SELECT shard, id, topic, key, headers, value FROM outbox
    WHERE shard = l.shard AND topic <> ALL (CAST(:held AS text[]))
    ORDER BY id LIMIT :shard_count
) AS o
WHERE l.relay = :relay AND l.expires_at > now()
ORDER BY o.shard, o.id
""")

_DELETE = text("""
DELETE FROM outbox USING unnest(CAST(:shards AS smallint[]), CAST(:ids AS bigint[])) AS sent (shard, id)
WHERE outbox.shard = sent.shard AND outbox.id = sent.id
""")

_MEASURE = text("""
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT :count_max) AS counted) AS depth,
       (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM (
            SELECT h.created_at FROM outbox_lease AS l CROSS JOIN LATERAL (
                SELECT created_at FROM outbox WHERE shard = l.shard ORDER BY id LIMIT 1) AS h) AS heads) AS age_seconds
""")

_DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

_log = get_logger("mesh_messaging.relay")


class Relay:
    """One relay; run as many as you like per database. `lease_seconds` bounds how long a stalled one can delay its
    shards.
    """

    def __init__(
        self,
        db: Database,
        producer_factory: ProducerFactory,
        *,
        batch_size_max: int = 2_000,
        poll_seconds: float = 0.05,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._db = db
        self._sender = Sender(producer_factory)
        self._batch_size_max = batch_size_max
        self._poll_seconds = poll_seconds
        self._lease_seconds = lease_seconds
        self._id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._share = leases.Share((), 0)
        self._keep_at = float("-inf")
        self._measured_at = float("-inf")
        self._held: dict[str, tuple[float, float]] = {}
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop`; a broker or a database that is away is waited for and nothing is lost."""
        stopping = asyncio.create_task(self._wake_at(stop))
        idle_seconds = self._poll_seconds
        backoff_seconds = BACKOFF_FIRST_SECONDS
        try:
            async with self._db.raw_listen(CHANNEL, lambda _payload: self._wake.set()):
                while not stop.is_set():
                    self._wake.clear()
                    try:
                        taken = await self.relay_once()
                    except (MeshError, KafkaError, *_DATABASE_ERRORS) as error:
                        _log.warning("relay.waiting", reason=repr(error), backoff_seconds=backoff_seconds)
                        await pause(stop, backoff_seconds)
                        backoff_seconds = min(backoff_seconds * 2, BACKOFF_MAX_SECONDS)
                        continue
                    backoff_seconds = BACKOFF_FIRST_SECONDS
                    if taken or await pause(self._wake, idle_seconds):
                        idle_seconds = self._poll_seconds
                    else:
                        idle_seconds = min(idle_seconds * 1.5, max(POLL_SECONDS_MAX, self._poll_seconds))
        finally:
            stopping.cancel()
            await self._leave()

    async def relay_once(self) -> int:
        """Claim, send and delete one batch; returns how many messages were taken out of the outbox.

        Raises KafkaError, OSError or an error of the database, with the rows kept.
        """
        await self._keep_leases()
        await self._measure()
        if not self._share.shards:
            return 0
        now = time.monotonic()
        held = [topic for topic, (until, _) in self._held.items() if until > now]
        async with self._db.engine.connect() as connection:
            # One statement is its own transaction; BEGIN and COMMIT would triple the round trips.
            session = await connection.execution_options(isolation_level="AUTOCOMMIT")
            claimed = await self._claim(session, held)
        if not claimed:
            return 0
        faults.fault_point(BEFORE_SEND)
        result = await self._sender.send(claimed)
        self._hold(result.failed_topics, {message.topic for message in result.acknowledged})
        faults.fault_point(AFTER_SEND)
        if result.acknowledged:
            await self._delete(result.acknowledged)
            faults.fault_point(AFTER_DELETE)
        return len(result.acknowledged)

    async def _claim(self, connection: AsyncConnection, held: Sequence[str]) -> list[ClaimedMessage]:
        per_shard = max(self._batch_size_max // len(self._share.shards), SHARD_BATCH_SIZE_MIN)
        rows = await connection.execute(_CLAIM, {"relay": self._id, "held": list(held), "shard_count": per_shard})
        return [ClaimedMessage(*row) for row in rows]

    async def _delete(self, messages: Sequence[ClaimedMessage]) -> None:
        async with self._db.engine.connect() as connection:
            session = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await session.execute(
                _DELETE,
                {"shards": [message.shard for message in messages], "ids": [message.id for message in messages]},
            )

    async def _keep_leases(self) -> None:
        # Between batches only: a shard is never given away while something of it is on its way.
        now = time.monotonic()
        if now < self._keep_at:
            return
        async with self._db.engine.begin() as connection:
            share = await leases.keep(connection, self._id, self._lease_seconds)
        self._keep_at = now + (self._lease_seconds / 5 if share.relay_count else self._poll_seconds)
        if share.shards != self._share.shards:
            _log.info("relay.shards", relay=self._id, shards=len(share.shards), relays=share.relay_count)
        self._share = share
        metrics.RELAY_SHARDS.set(len(share.shards))

    async def _measure(self) -> None:
        now = time.monotonic()
        if now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        async with self._db.engine.connect() as connection:
            row = (await connection.execute(_MEASURE, {"count_max": DEPTH_COUNT_MAX})).one()
        metrics.OUTBOX_DEPTH.set(row.depth)
        metrics.OUTBOX_AGE.set(float(row.age_seconds))

    def _hold(self, failed: dict[str, str], acknowledged: set[str]) -> None:
        """A topic that cannot be sent to is left out for a while, so that it does not stop the others."""
        for topic in acknowledged - failed.keys():
            self._held.pop(topic, None)
        for topic, reason in failed.items():
            _, seconds = self._held.get(topic, (0.0, BACKOFF_FIRST_SECONDS / 2))
            seconds = min(seconds * 2, BACKOFF_MAX_SECONDS)
            self._held[topic] = (time.monotonic() + seconds, seconds)
            _log.warning("relay.topic-held", topic=topic, reason=reason, backoff_seconds=seconds)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _leave(self) -> None:
        await self._sender.close()
        try:
            async with self._db.engine.begin() as connection:
                await leases.leave(connection, self._id)
        except _DATABASE_ERRORS as error:
            _log.info("relay.leases-not-returned", relay=self._id, reason=repr(error))
