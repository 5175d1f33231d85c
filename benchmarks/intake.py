"""How many HR events a second the orchestrator takes in, over HTTP and over Apache Kafka, beside bare inserts.

    python benchmarks/intake.py [--events 20000] [--batch 500] [--senders 2] [--seed 1] [--json FILE]

A customer and its tenant are ready, so each event makes a person and starts a plan whose first command goes out; the
adapters are ended before, so that nothing is carried out meanwhile. PostgreSQL commits to disk.

    HTTP    N events over `POST /hr/events`, `--batch` a request, `--senders` clients; answered means committed
            / the same bodies parsed and inserted into one table, a transaction each, by this process
    Kafka   N events lie in the topic when the orchestrator starts; from its first committed offsets to its last
            / the same records taken by a bare consumer and inserted into one table, a transaction a poll
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import psutil
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from joining import office
from joining.mesh import BATCH_TYPE
from joining.meters import postgres_cpu, tree_cpu
from joining.stand import Stand, options, standing
from reporting import program
from reporting.figures import Report, Row, at_least

from mesh_messaging.binding_http import from_http
from mesh_messaging.binding_kafka import to_headers
from mesh_messaging.event import STRUCTURED_TYPE, CloudEvent
from mesh_messaging.kafka import KafkaSettings, make_producer

HTTP_GOAL, KAFKA_GOAL = 2_000.0, 5_000.0
TOPIC = "ucmesh.hr.lifecycle.v1"
STAYS = ("postgres", "kafka", "issuer", "traces", "orchestrator")
POLL_RECORDS_MAX = 1_000
SEND_SIZE = 2_000
TAKEN_SECONDS_MAX = 600.0
LOOK_SECONDS = 0.05

People = Sequence[Mapping[str, Any]]


async def measure(home: Path, given: Any) -> list[Row]:
    async with standing(home, options(given.seed)) as stand:
        await stand.settle([office.MESH_TENANT], 3 * given.events + 10)
        await stand.leave(STAYS)
        return await stand.unless_a_part_dies(_both(stand, given))


async def _both(stand: Stand, given: Any) -> list[Row]:
    warm = office.people(given.seed, "WARM", given.batch * given.senders)
    await _http(stand, _bodies(warm, given.batch), given.senders)
    load = program.OtherLoad()
    bodies = _bodies(office.people(given.seed, "HTTP", given.events), given.batch)
    bare_http = given.events / await _bare_inserts(stand, bodies)
    before = _cpu(stand)
    http = given.events / await _http(stand, bodies, given.senders)
    http_cpu = (_cpu(stand) - before) / given.events
    people = office.people(given.seed, "KAFKA", given.events)
    part = stand.stack.supervisor.unwatch("orchestrator")
    await part.stop()
    async with Committed.of(stand, "orchestrator") as group:
        await _produce(stand, people)
        bare_kafka = await _bare_consumer(stand, len(people))
        await part.start()
        kafka, kafka_cpu = await _taken(stand, group, len(people))
    return [
        at_least("HTTP intake", http, "events/s", HTTP_GOAL),
        Row("HTTP intake / bare inserts", http / bare_http, "x events/s"),
        Row("HTTP intake, CPU", http_cpu * 1e6, "us/event"),
        at_least("Kafka intake", kafka, "events/s", KAFKA_GOAL),
        Row("Kafka intake / bare consumer with inserts", kafka / bare_kafka, "x events/s"),
        Row("Kafka intake, CPU", kafka_cpu * 1e6, "us/event"),
        Row("intake, other load", load.share(), "share of the machine"),
    ]


def _bodies(people: People, batch: int) -> list[bytes]:
    events = [office.hr_event(person, office.MESH_TENANT) for person in people]
    return [orjson.dumps(events[start : start + batch]) for start in range(0, len(events), batch)]


async def _http(stand: Stand, bodies: Sequence[bytes], senders: int) -> float:
    """Seconds until every event is answered. RuntimeError for one that is not taken."""

    def send(own: Sequence[bytes]) -> None:
        for body in own:
            answer = stand.api.send("orchestrator", "/hr/events", body, BATCH_TYPE)
            if any(result["status"] != "accepted" for result in answer["results"]):
                raise RuntimeError(f"events were not accepted: {answer}")

    began = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(send, bodies[place::senders]) for place in range(senders)))
    return time.perf_counter() - began


async def _bare_inserts(stand: Stand, bodies: Sequence[bytes]) -> float:
    connection = await _bare_table(stand)
    began = time.perf_counter()
    for body in bodies:
        events = orjson.loads(body)
        await _insert(connection, [each["id"] for each in events], [orjson.dumps(each["data"]) for each in events])
    seconds = time.perf_counter() - began
    await connection.close()
    return seconds


async def _bare_consumer(stand: Stand, count: int) -> float:
    """Events a second."""
    connection = await _bare_table(stand)
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=stand.endpoints.kafka,
        group_id="bare-intake",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    taken, began = 0, time.perf_counter()
    while taken < count:
        polled = await consumer.getmany(timeout_ms=200, max_records=POLL_RECORDS_MAX)
        records = [record for part in polled.values() for record in part]
        ids = [next(value for name, value in record.headers if name == "ce_id").decode() for record in records]
        await _insert(connection, ids, [record.value for record in records])
        await consumer.commit()
        taken += len(records)
    seconds = time.perf_counter() - began
    await consumer.stop()
    await connection.close()
    return count / seconds


async def _bare_table(stand: Stand) -> asyncpg.Connection:
    connection = await asyncpg.connect(await stand.postgres.ensure_database("bare_intake", "bare"))
    await connection.execute(
        "DROP TABLE IF EXISTS event; CREATE TABLE event (id text PRIMARY KEY, data jsonb NOT NULL)"
    )
    return connection


async def _insert(connection: asyncpg.Connection, ids: Sequence[str], data: Sequence[bytes]) -> None:
    if ids:
        rows = [each.decode() for each in data]
        await connection.execute(
            "INSERT INTO event SELECT * FROM unnest($1::text[], $2::text[]::jsonb[]) ON CONFLICT DO NOTHING", ids, rows
        )


@dataclass(slots=True)
class Committed:
    """How many records of the topic a consumer group has committed since this was made."""

    admin: AIOKafkaAdminClient
    group: str
    before: int = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, stand: Stand, group: str) -> AsyncIterator["Committed"]:
        admin = AIOKafkaAdminClient(bootstrap_servers=stand.endpoints.kafka)
        await admin.start()
        try:
            made = cls(admin, group)
            made.before = await made.taken()
            yield made
        finally:
            await admin.close()

    async def taken(self) -> int:
        offsets = await self.admin.list_consumer_group_offsets(self.group)
        records: int = sum(max(each.offset, 0) for place, each in offsets.items() if place.topic == TOPIC)
        return records - self.before


async def _produce(stand: Stand, people: People) -> None:
    producer = make_producer(KafkaSettings(stand.endpoints.kafka, client_id="hr"))
    await producer.start()
    for start in range(0, len(people), SEND_SIZE):
        sent = []
        for person in people[start : start + SEND_SIZE]:
            document = orjson.dumps(office.hr_event(person, office.MESH_TENANT))
            (event,) = from_http({"content-type": STRUCTURED_TYPE}, document)
            assert isinstance(event, CloudEvent)
            key = f"{office.MESH_TENANT.name}/{person['employee_id']}".encode()
            sent.append(await producer.send(TOPIC, event.data, key=key, headers=to_headers(event)))
        await asyncio.gather(*sent)
    await producer.stop()


async def _taken(stand: Stand, group: Committed, count: int) -> tuple[float, float]:
    """Events a second and CPU seconds of an event, from the first look that finds events taken to the one that finds
    all. Taken are those whose offset the orchestrator has committed, which it does after its transaction; to ask Apache
    Kafka for that costs the two that are measured nothing.
    """
    deadline = time.monotonic() + TAKEN_SECONDS_MAX
    first: tuple[int, float, float] | None = None
    taken = 0
    while taken < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{count} events were not taken in {TAKEN_SECONDS_MAX:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)
        taken, at = await group.taken(), time.perf_counter()
        if first is None and taken:
            first = (taken, at, _cpu(stand))
    assert first is not None
    rest = count - first[0]
    return (rest / (at - first[1]), (_cpu(stand) - first[2]) / rest) if rest else (0.0, 0.0)


def _cpu(stand: Stand) -> float:
    """Seconds of the orchestrator and of its part of PostgreSQL."""
    pids = {name: stand.stack.pid(name) for name in ("orchestrator", "postgres")}
    spent = postgres_cpu(pids["postgres"])
    return tree_cpu(psutil.Process(pids["orchestrator"])) + spent["postgres: orchestrator"]


def main(argv: Sequence[str]) -> None:
    given = program.arguments(
        __doc__,
        argv,
        {"events": (20_000, 60), "batch": (500, 20), "senders": (2, 2)},
        {"events": "through each door", "batch": "events of one HTTP request", "senders": "HTTP clients at a time"},
    )
    with program.folder() as home:
        rows = program.run(measure(home, given))
    settings = {"seed": given.seed, "events": given.events, "batch": given.batch, "senders": given.senders}
    Report("intake", "Intake of HR events", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
