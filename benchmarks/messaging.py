"""How fast messages leave through the outbox and come in through the inbox, beside bare clients in the same process.

    python benchmarks/messaging.py [--events 60000] [--bytes 500] [--keys 1000]

PostgreSQL commits synchronously to disk. Every figure is events per second; a ratio compares two figures of this run:

    relay     an outbox of N events is sent and emptied        / the same records through a bare producer
    flow      events are appended (1,000 a transaction) while the relay runs, until all have left
    consumer  N records to committed rows of a handler, inbox included   / a bare consumer that only commits offsets
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer
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

ROOT = Path(__file__).resolve().parents[1]
TYPE = "ucmesh.bench.thing.v1.did"
TOPICS = {"bare": "ucmesh.bench-bare.v1", "relay": "ucmesh.bench-relay.v1", "flow": "ucmesh.bench-flow.v1"}
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


async def bare_producer(bench: Bench) -> float:
    """The same records, same settings, `send` per record and one await per SEND_SIZE."""
    producer = make_producer(bench.kafka)
    await producer.start()
    records = [(key.encode(), to_headers(event), event.data) for key, event in bench.messages]
    started = time.perf_counter()
    for place in range(0, len(records), SEND_SIZE):
        part = records[place : place + SEND_SIZE]
        sent = [await producer.send(TOPICS["bare"], value, key=key, headers=headers) for key, headers, value in part]
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
    group = f"bare-{uuid.uuid4().hex}"
    consumer = AIOKafkaConsumer(
        TOPICS["bare"],
        bootstrap_servers=bench.kafka.bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    read = 0
    started = time.perf_counter()
    while read < len(bench.messages):
        for records in (await consumer.getmany(timeout_ms=500, max_records=1_000)).values():
            read += len(records)
        await consumer.commit()
    rate = read / (time.perf_counter() - started)
    await consumer.stop()
    return rate


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


async def measure(bench: Bench) -> None:
    async with bench.db.transaction() as tx:
        await create_tables(tx)
        await tx.execute(text("CREATE TABLE effect (id text, subject text)"))
    async with Cluster(bench.kafka) as cluster:
        await cluster.create_topics([Topic(name, 12) for name in TOPICS.values()])
    await wait_until_ready(bench.kafka, list(TOPICS.values()), 20)
    baseline = await bare_producer(bench)
    print(f"bare producer            {baseline:10,.0f} events/s")
    relayed = await relay(bench)
    print(f"relay                    {relayed:10,.0f} events/s   {relayed / baseline:5.2f} x bare producer")
    flowed = await flow(bench)
    print(f"append + relay together  {flowed:10,.0f} events/s   {flowed / baseline:5.2f} x bare producer")
    read = await bare_consumer(bench)
    print(f"bare consumer            {read:10,.0f} events/s")
    handled = await consumer(bench)
    print(f"consumer with inbox      {handled:10,.0f} events/s   {handled / read:5.2f} x bare consumer")


def _enterable(name: str) -> Path:
    """PostgreSQL run by root drops to a user that must get in."""
    folder = Path(name)
    folder.chmod(0o755)
    return folder


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--bytes", type=int, default=500)
    parser.add_argument("--keys", type=int, default=1_000)
    options = parser.parse_args()
    logs.configure("bench", "WARNING")
    with tempfile.TemporaryDirectory(prefix="ucmesh-bench-") as name:
        folder = _enterable(name)
        cache = Places.of(ROOT / ".ucmesh").cache
        server = PostgresServer(PostgresSettings(folder / "postgres", cache, folder / "postgres.log"))
        broker = KafkaBroker(BrokerSettings(folder / "kafka", cache, folder / "kafka.log"))
        await asyncio.gather(server.start(), broker.start())
        try:
            bench = Bench(
                Database(server.url()),
                KafkaSettings(broker.bootstrap),
                make_messages(options.events, options.bytes, options.keys),
            )
            await measure(bench)
            await bench.db.close()
        finally:
            server.kill()
            broker.kill()


if __name__ == "__main__":
    uvloop.run(main())
