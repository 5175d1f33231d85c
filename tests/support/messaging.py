"""A place to try messaging in: a database with its tables, topics of its own, a handler that leaves rows behind.

The handler's table has no unique key on purpose: a double effect shows as a second row.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.envelope import CloudEvent, to_headers
from mesh_messaging.kafka import KafkaSettings, make_producer, wait_until_ready
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.message import Handler, InboundMessage
from mesh_messaging.names import dead_letter_topic
from mesh_messaging.outbox import OutboundMessage, append
from mesh_messaging.relay import Relay
from mesh_messaging.testing import create_tables
from mesh_runtime.db import Database
from support.topics import make_topics

DID = "ucmesh.test.thing.v1.did"
UNDID = "ucmesh.test.thing.v1.undid"
FAST_LADDER = RetryLadder((0.05, 0.05, 0.05))

_EFFECTS = "CREATE TABLE effect (place bigserial PRIMARY KEY, key text, event_id text NOT NULL, n integer NOT NULL)"


def event(n: int, *, key: str = "k", event_id: str | None = None, kind: str = DID, **data: Any) -> CloudEvent:
    """An event whose data is {"n": n, "key": key, ...}; its id is unique unless given."""
    body = orjson.dumps({"n": n, "key": key, **data})
    identity = event_id or f"e-{uuid.uuid4().hex}"
    return CloudEvent(identity, "/test", kind, datetime(2026, 1, 1, tzinfo=UTC), None, None, body)


@dataclass(slots=True)
class Place:
    """One test's database, topic and consumer name."""

    db: Database
    url: str
    kafka: KafkaSettings
    topic: str
    consumer: str
    partitions: int = 4
    calls: list[list[InboundMessage]] = field(default_factory=list)

    @property
    def dlq(self) -> str:
        return dead_letter_topic(self.topic, self.consumer)

    async def handle(self, tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        """The default handler: one row per message, in order."""
        self.calls.append(list(messages))
        await write_effects(tx, messages)

    def consumer_of(self, handlers: Mapping[str, Handler] | None = None, **options: Any) -> BatchConsumer:
        settings = {"retry": FAST_LADDER} | options
        kafka = settings.pop("kafka", self.kafka)
        return BatchConsumer(
            kafka, self.db, name=self.consumer, topics=[self.topic], handlers=handlers or {DID: self.handle}, **settings
        )

    def relay(self, **options: Any) -> Relay:
        return Relay(self.db, lambda: make_producer(self.kafka), **options)

    async def produce(self, events: Sequence[tuple[str | None, CloudEvent]], topic: str | None = None) -> None:
        """Send (key, event) straight to the topic, past any outbox."""
        await self.produce_raw([(key, to_headers(item), item.data) for key, item in events], topic)

    async def produce_raw(
        self,
        records: Sequence[tuple[str | None, Sequence[tuple[str, bytes]], bytes | None]],
        topic: str | None = None,
    ) -> None:
        producer = make_producer(self.kafka)
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic or self.topic, value, key=key.encode() if key is not None else None, headers=headers
                )
                for key, headers, value in records
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def append(self, events: Sequence[tuple[str, CloudEvent]], topic: str | None = None) -> None:
        """Put (key, event) in the outbox, in one transaction."""
        async with self.db.transaction() as tx:
            await append(tx, [OutboundMessage(topic or self.topic, key, item) for key, item in events])

    async def rows(self, statement: str, **parameters: Any) -> list[Any]:
        async with self.db.transaction() as tx:
            return list((await tx.execute(text(statement), parameters)).all())

    async def scalar(self, statement: str, **parameters: Any) -> Any:
        return (await self.rows(statement, **parameters))[0][0]

    async def effects(self) -> list[int]:
        """The `n` of every effect, in the order of their writing."""
        return [row.n for row in await self.rows("SELECT n FROM effect ORDER BY place")]

    async def effects_by_key(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row in await self.rows("SELECT key, n FROM effect ORDER BY place"):
            found.setdefault(row.key, []).append(row.n)
        return found

    async def records(self, topic: str | None = None) -> list[Any]:
        """Everything in this topic, or in the dead-letter topic given, by partition and offset."""
        return await read_topic(self.kafka, topic or self.topic, 1 if topic else self.partitions)

    async def committed_everything(self) -> bool:
        """Whether the group has committed all offsets of the topic."""
        async with plain_client(self.kafka) as client:
            ends = await client.end_offsets([TopicPartition(self.topic, n) for n in range(self.partitions)])
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        try:
            await admin.start()
            committed = await admin.list_consumer_group_offsets(self.consumer)
        finally:
            await admin.close()
        return all(end == 0 or (place in committed and committed[place].offset == end) for place, end in ends.items())

    async def rewind(self) -> None:
        """Forget the group's offsets, as a crash between commit and offsets does. The group must have no members."""
        async with plain_client(self.kafka, self.consumer) as client:
            places = [TopicPartition(self.topic, n) for n in range(self.partitions)]
            client.assign(places)
            await client.commit(dict.fromkeys(places, 0))


async def write_effects(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
    documents = [message.event.json() for message in messages]
    await tx.execute(
        text("""INSERT INTO effect (key, event_id, n)
                SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:ids AS text[]), CAST(:ns AS integer[]))"""),
        {
            "keys": [document["key"] for document in documents],
            "ids": [message.event.id for message in messages],
            "ns": [document["n"] for document in documents],
        },
    )


async def make_place(
    url: str, bootstrap: str | None, *, partitions: int = 4, topic: str | None = None, consumer: str | None = None
) -> Place:
    """Create tables and, with a broker, topic and dead-letter topic."""
    name = f"t{uuid.uuid4().hex[:10]}"
    kafka = KafkaSettings(
        bootstrap or "127.0.0.1:1", client_id="test", session_timeout_ms=6_000, max_poll_interval_ms=60_000
    )
    place = Place(Database(url), url, kafka, topic or f"ucmesh.{name}.v1", consumer or name, partitions)
    async with place.db.transaction() as tx:
        await create_tables(tx)
        await tx.execute(text(_EFFECTS))
    if bootstrap is not None:
        await make_topics(kafka, {place.topic: partitions, place.dlq: 1})
        await wait_until_ready(kafka, [place.topic, place.dlq], 15)
    return place


@contextlib.asynccontextmanager
async def running(*roles: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[asyncio.Event]:
    """Runs the roles for the block; their failure ends the block, their drain is awaited (15 seconds at most)."""
    stop = asyncio.Event()
    tasks = [asyncio.ensure_future(role(stop)) for role in roles]
    try:
        yield stop
    finally:
        stop.set()
        done, late = await asyncio.wait(tasks, timeout=15)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()
        assert not late, "a role did not drain in time"


async def read_topic(kafka: KafkaSettings, topic: str, partitions: int) -> list[Any]:
    async with plain_client(kafka) as client:
        places = [TopicPartition(topic, n) for n in range(partitions)]
        client.assign(places)
        ends = await client.end_offsets(places)
        found: list[Any] = []
        while any([await client.position(place) < end for place, end in ends.items()]):
            for records in (await client.getmany(timeout_ms=200)).values():
                found += records
        return sorted(found, key=lambda record: (record.partition, record.offset))


@contextlib.asynccontextmanager
async def plain_client(kafka: KafkaSettings, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    client = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def outbox_is_empty(place: Place) -> bool:
    return bool(await place.scalar("SELECT count(*) = 0 FROM outbox"))


def first_occurrences(records: Sequence[Any]) -> dict[str, list[int]]:
    """Per key the `n` in order, duplicates left out as the inbox does."""
    found: dict[str, list[int]] = {}
    for record in records:
        ns = found.setdefault(record.key.decode(), [])
        n = orjson.loads(record.value)["n"]
        if n not in ns:
            ns.append(n)
    return found
