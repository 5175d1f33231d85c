"""How fast messages leave through the outbox and come in through the inbox, beside bare clients in the same process.

    python benchmarks/messaging.py [--events 60000] [--bytes 500] [--keys 1000]

PostgreSQL commits synchronously to disk. Every figure is events per second; a ratio compares two figures of this run:

    relay     an outbox of N events is sent and emptied        / the same records through a bare producer
    relays    the same outbox by four relays at once; a key's events must arrive in the order they were appended
    flow      events are appended (1,000 a transaction) while the relay runs, until all have left
    consumer  N records to committed rows of a handler, inbox included   / a bare consumer that only commits offsets
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from reporting import program
from reporting.figures import Report, Row, at_least
from reporting.program import OtherLoad
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.envelope import CloudEvent, to_headers
from mesh_messaging.kafka import KafkaSettings, make_producer, wait_until_ready
from mesh_messaging.message import InboundMessage
from mesh_messaging.outbox import OutboundMessage, append
from mesh_messaging.relay import Relay
from mesh_messaging.testing import create_tables
from mesh_messaging.topics import Cluster, Topic
from mesh_runtime import logs
from mesh_runtime.db import Database
from ucmesh_embedded.kafka import KafkaBroker
from ucmesh_embedded.kafka import KafkaSettings as BrokerSettings
from ucmesh_embedded.places import Places
from ucmesh_embedded.postgres import PostgresServer, PostgresSettings

TYPE = "ucmesh.bench.thing.v1.did"
TOPICS = {name: f"ucmesh.bench-{name}.v1" for name in ("warm", "bare", "relay", "several", "flow")}
RELAYS = 4
RELAY_GOAL = 15_000.0
APPEND_SIZE = 1_000
SEND_SIZE = 2_000


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements share."""

    db: Database
    kafka: KafkaSettings
    messages: Sequence[tuple[str, CloudEvent]]


def make_messages(count: int, data_bytes: int, keys: int) -> list[tuple[str, CloudEvent]]:
    body = orjson.dumps({"filler": "x" * max(data_bytes - 13, 0)})
    moment = datetime.now(UTC)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    return [
        (
            f"tenant-{n % keys}",
            CloudEvent(str(uuid.uuid4()), "/bench", TYPE, moment, "subject", "tenant", body, trace),
        )
        for n in range(count)
    ]


async def bare_producer(bench: Bench, topic: str) -> float:
    """The same records, same settings, `send` per record and one await per SEND_SIZE."""
    producer = make_producer(bench.kafka)
    await producer.start()
    records = [(key.encode(), to_headers(event), event.data) for key, event in bench.messages]
    started = time.perf_counter()
    for place in range(0, len(records), SEND_SIZE):
        part = records[place : place + SEND_SIZE]
        sent = [await producer.send(topic, value, key=key, headers=headers) for key, headers, value in part]
        await asyncio.gather(*sent)
    rate = len(records) / (time.perf_counter() - started)
    await producer.stop()
    return rate


async def fill(bench: Bench, topic: str) -> float:
    started = time.perf_counter()
    for place in range(0, len(bench.messages), APPEND_SIZE):
        async with bench.db.transaction() as tx:
            await append(
                tx, [OutboundMessage(topic, key, event) for key, event in bench.messages[place : place + APPEND_SIZE]]
            )
    return len(bench.messages) / (time.perf_counter() - started)


async def relay(bench: Bench) -> float:
    await fill(bench, TOPICS["relay"])
    machine = Relay(bench.db, bench.kafka.make_producer)
    started = time.perf_counter()
    left = len(bench.messages)
    while left:
        left -= await machine.relay_once()
    rate = len(bench.messages) / (time.perf_counter() - started)
    await machine._leave()
    return rate


async def flow(bench: Bench) -> float:
    stop = asyncio.Event()
    running = asyncio.create_task(Relay(bench.db, bench.kafka.make_producer).run(stop))
    started = time.perf_counter()
    await fill(bench, TOPICS["flow"])
    await _until(lambda: _empty(bench))
    rate = len(bench.messages) / (time.perf_counter() - started)
    stop.set()
    await running
    return rate


async def bare_consumer(bench: Bench) -> float:
    started = time.perf_counter()
    async for _ in _read(bench, TOPICS["bare"]):
        pass
    return len(bench.messages) / (time.perf_counter() - started)


async def consumer(bench: Bench) -> float:
    """From the first handler call to the last commit, scaled to the messages in between."""
    marks: list[tuple[float, int]] = []
    done = 0
    stop = asyncio.Event()

    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        nonlocal done
        await tx.execute(
            text(
                "INSERT INTO effect (id, subject) SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:subjects AS text[]))"
            ),
            {"ids": [m.event.id for m in messages], "subjects": [m.event.json()["filler"][:9] for m in messages]},
        )
        done += len(messages)
        marks.append((time.perf_counter(), done))

    batches = BatchConsumer(
        bench.kafka, bench.db, name=f"c-{uuid.uuid4().hex[:8]}", topics=[TOPICS["bare"]], handlers={TYPE: handle}
    )
    running = asyncio.create_task(batches.run(stop))
    await _until(lambda: _is(done >= len(bench.messages)))
    stop.set()
    await running
    (first_at, first), (last_at, last) = marks[0], marks[-1]
    return (last - first) / (last_at - first_at)


async def _empty(bench: Bench) -> bool:
    async with bench.db.read() as tx:
        return bool((await tx.execute(text("SELECT NOT EXISTS (SELECT 1 FROM outbox)"))).scalar())


async def _is(value: bool) -> bool:
    return value


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - a table has no event
        await asyncio.sleep(0.005)


async def several_relays(bench: Bench) -> tuple[float, int]:
    """Events a second of RELAYS at once, and how many events came after a later one of their key."""
    await fill(bench, TOPICS["several"])
    stop = asyncio.Event()
    started = time.perf_counter()
    running = [asyncio.create_task(Relay(bench.db, bench.kafka.make_producer).run(stop)) for _ in range(RELAYS)]
    await _until(lambda: _empty(bench))
    rate = len(bench.messages) / (time.perf_counter() - started)
    stop.set()
    await asyncio.gather(*running)
    return rate, await _out_of_order(bench)


async def _out_of_order(bench: Bench) -> int:
    places = {event.id: place for place, (_, event) in enumerate(bench.messages)}
    latest: dict[bytes, int] = {}
    late = 0
    async for records in _read(bench, TOPICS["several"]):
        for record in records:
            place = places[dict(record.headers)["ce_id"].decode()]
            late += place < latest.get(record.key, -1)
            latest[record.key] = max(place, latest.get(record.key, -1))
    return late


async def _read(bench: Bench, topic: str) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """All records of the topic, with a commit after each portion."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bench.kafka.bootstrap,
        group_id=f"bare-{uuid.uuid4().hex}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    read = 0
    while read < len(bench.messages):
        for records in (await consumer.getmany(timeout_ms=500, max_records=1_000)).values():
            read += len(records)
            yield records
        await consumer.commit()
    await consumer.stop()


async def measure(bench: Bench) -> list[Row]:
    async with bench.db.transaction() as tx:
        await create_tables(tx)
        await tx.execute(text("CREATE TABLE effect (id text, subject text)"))
    async with Cluster(bench.kafka) as cluster:
        await cluster.create_topics([Topic(name, 12) for name in TOPICS.values()])
    await wait_until_ready(bench.kafka, list(TOPICS.values()), 20)
    await bare_producer(bench, TOPICS["warm"])
    load = OtherLoad()
    produced = await bare_producer(bench, TOPICS["bare"])
    relayed = await relay(bench)
    together, late = await several_relays(bench)
    flowed = await flow(bench)
    read = await bare_consumer(bench)
    handled = await consumer(bench)
    return [
        Row("bare producer", produced, "events/s"),
        at_least("outbox relay, synchronous commit", relayed, "events/s", RELAY_GOAL),
        Row("outbox relay / bare producer", relayed / produced, "x events/s"),
        Row(f"{RELAYS} outbox relays", together, "events/s"),
        Row(f"{RELAYS} outbox relays, events out of their key's order", late, "events", "0", late == 0),
        Row("append and relay together", flowed, "events/s"),
        Row("bare consumer", read, "events/s"),
        Row("consumer with inbox", handled, "events/s"),
        Row("consumer with inbox / bare consumer", handled / read, "x events/s"),
        Row("messaging, other load", load.share(), "share of the machine"),
    ]


async def run(folder: Path, given: argparse.Namespace) -> list[Row]:
    logs.configure("bench", "WARNING")
    cache = Places.from_environment().cache
    server = PostgresServer(PostgresSettings(folder / "postgres", cache, folder / "postgres.log"))
    broker = KafkaBroker(BrokerSettings(folder / "kafka", cache, folder / "kafka.log"))
    await asyncio.gather(server.start(), broker.start())
    try:
        bench = Bench(
            Database(server.url()),
            KafkaSettings(broker.bootstrap),
            make_messages(given.events, given.bytes, given.keys),
        )
        rows = await measure(bench)
        await bench.db.close()
        return rows
    finally:
        server.kill()
        broker.kill()


def main(argv: Sequence[str]) -> None:
    sizes = {"events": (60_000, 2_000), "bytes": (500, 500), "keys": (1_000, 100)}
    texts = {"events": "of each measurement", "bytes": "of an event's data", "keys": "of all events"}
    given = program.arguments(__doc__, argv, sizes, texts)
    with program.folder() as folder:
        rows = program.run(run(folder, given), uvloop.run)
    settings = {"events": given.events, "bytes": given.bytes, "keys": given.keys}
    Report("messaging", "Messages out through the outbox and in through the inbox", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
