"""The batch consumer on real PostgreSQL and Apache Kafka: every record comes to exactly one end."""

import struct
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.record.util import calc_crc32c
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import metrics
from mesh_messaging.envelope import to_headers
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.message import InboundMessage
from mesh_runtime import telemetry
from mesh_runtime.errors import InvalidInput, Refused, Unavailable
from support.messaging import DID, UNDID, Place, event, running, write_effects
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def test_a_message_goes_from_the_outbox_through_the_broker_to_its_handler(place: Place) -> None:
    await place.append([(f"k{n % 3}", event(n, key=f"k{n % 3}")) for n in range(30)])
    async with running(place.relay().run, place.consumer_of().run):
        await eventually(lambda: effect_count(place, 30), what="30 effects")
    assert await place.effects_by_key() == {f"k{k}": list(range(k, 30, 3)) for k in range(3)}
    assert await place.scalar("SELECT count(*) FROM outbox") == 0
    assert await place.committed_everything()


async def test_a_second_delivery_changes_nothing(place: Place) -> None:
    events = [("k", event(n)) for n in range(20)]
    await place.produce([*events, *events, events[3]])
    async with running(place.consumer_of().run):
        await eventually(place.committed_everything, what="all offsets")
        await place.produce(events)
        await eventually(place.committed_everything, what="all offsets again")
    assert await place.effects() == list(range(20))


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_other_producers_may_compress(place: Place, compression: str) -> None:
    sent = event(7)
    async with AIOKafkaProducer(bootstrap_servers=place.kafka.bootstrap, compression_type=compression) as producer:
        await producer.send_and_wait(place.topic, sent.data, key=b"k", headers=to_headers(sent))
    async with running(place.consumer_of().run):
        await eventually(place.committed_everything, what="all offsets")
    assert await place.effects() == [7]


async def test_one_poison_message_costs_only_itself(place: Place) -> None:
    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await write_effects(tx, messages)
        if any(message.event.json()["n"] == 137 for message in messages):
            raise Refused("no such thing", code="no-thing")

    await place.produce([(f"k{n % 20}", event(n, key=f"k{n % 20}")) for n in range(300)])
    async with running(place.consumer_of({DID: handle}).run):
        await eventually(place.committed_everything, what="all offsets")
    assert Counter(await place.effects()) == Counter(n for n in range(300) if n != 137)
    assert all(ns == sorted(ns) for ns in (await place.effects_by_key()).values())
    (letter,) = await place.rows("SELECT * FROM dead_letter")
    assert (letter.state, letter.reason_code, letter.reason, letter.attempts) == (
        "open",
        "no-thing",
        "no such thing",
        1,
    )
    assert letter.event_id is not None
    assert len(letter.fingerprint) == 16
    assert await place.scalar("SELECT count(*) FROM parked_message") == 0


async def test_a_message_that_keeps_failing_climbs_the_ladder_and_the_key_waits_behind_it(place: Place) -> None:
    attempts: list[int] = []

    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            if message.event.json()["n"] == 1:
                attempts.append(message.attempt)
                raise Unavailable("not now", code="throttled")
        await write_effects(tx, messages)

    await place.produce([("a", event(n, key="a")) for n in range(5)] + [("b", event(n, key="b")) for n in range(5, 10)])
    async with running(place.consumer_of({DID: handle}).run):
        await eventually(lambda: effect_count(place, 9), what="nine effects")
        await eventually(lambda: dead_count(place, 1), what="the dead letter")
    assert {"a": [0, 2, 3, 4]}.items() <= (await place.effects_by_key()).items(), "order is kept behind the ladder"
    assert sorted(set(attempts)) == [1, 2, 3, 4], "three rungs are four attempts"
    (letter,) = await place.rows("SELECT * FROM dead_letter")
    assert (letter.reason_code, letter.attempts) == ("throttled", 4)
    assert await place.scalar("SELECT count(*) FROM parked_message") == 0


async def test_a_message_that_fails_twice_is_handled_in_order_and_leaves_no_trace(place: Place) -> None:
    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        if any(message.event.json()["n"] == 2 and message.attempt < 3 for message in messages):
            raise Unavailable("not now")
        await write_effects(tx, messages)

    await place.produce([("a", event(n, key="a")) for n in range(8)])
    async with running(place.consumer_of({DID: handle}).run):
        await eventually(lambda: effect_count(place, 8), what="all effects")
        await place.produce([("a", event(8, key="a"))])
        await eventually(lambda: effect_count(place, 9), what="the key is free again")
    assert await place.effects() == list(range(9))
    assert await place.scalar("SELECT count(*) FROM dead_letter") == 0
    assert await place.scalar("SELECT count(*) FROM parked_message") == 0


async def test_a_redelivered_parked_message_is_not_doubled(place: Place) -> None:
    async def handle(_tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        raise Unavailable("not now")

    events = [("a", event(n, key="a")) for n in range(3)]
    await place.produce(events)
    slow = RetryLadder((600.0,))
    async with running(place.consumer_of({DID: handle}, retry=slow).run):
        await eventually(place.committed_everything, what="all offsets")
        await place.produce(events)
        await eventually(place.committed_everything, what="all offsets again")
    rows = await place.rows("SELECT attempts FROM parked_message ORDER BY id")
    assert [row.attempts for row in rows] == [1, 0, 0]


async def test_without_rungs_the_first_failure_is_the_end(place: Place) -> None:
    async def handle(_tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        raise Unavailable("not now")

    await place.produce([("a", event(1))])
    async with running(place.consumer_of({DID: handle}, retry=RetryLadder(())).run):
        await eventually(lambda: dead_count(place, 1))


async def test_records_that_are_no_events_are_kept_with_their_bytes_and_announced(place: Place) -> None:
    good = event(1)
    broken = [
        ("k", [("ce_id", b"\xff")], b"{}"),
        ("k", to_headers(good)[:3], b"{}"),
        (None, [], b"\x00\xff"),
        ("k", to_headers(event(2)), b"{ not json"),
        ("k", to_headers(event(3)), None),
    ]
    await place.produce_raw([*broken, ("k", to_headers(good), good.data)])
    async with running(place.relay().run, place.consumer_of().run):
        await eventually(lambda: effect_count(place, 1), what="the good one")
        await eventually(lambda: dead_count(place, 5), what="dead letters")
        await eventually(lambda: outbox_is_empty(place), what="announcements")
    rows = await place.rows("SELECT * FROM dead_letter")
    assert {row.reason_code for row in rows} == {"invalid-envelope"}
    kept = {(row.key, row.value) for row in rows}
    assert kept == {(key.encode() if key else None, value) for key, _, value in broken}
    announced = await place.records(place.dlq)
    assert {(record.key, record.value) for record in announced} == kept
    facts = dict(announced[0].headers)
    assert {"mesh_dead_letter_id", "mesh_reason", "mesh_consumer", "mesh_topic", "mesh_offset"} <= facts.keys()


async def test_a_redelivered_broken_record_is_one_dead_letter(place: Place) -> None:
    await place.produce_raw([("k", [], b"broken")])
    async with running(place.consumer_of().run):
        await eventually(lambda: dead_count(place, 1))
        await eventually(place.committed_everything)
    await place.rewind()
    async with running(place.consumer_of().run):
        await place.produce([("k", event(1))])
        await eventually(lambda: effect_count(place, 1))
    (letter,) = await place.rows("SELECT * FROM dead_letter")
    assert letter.occurrences == 1, "the same delivery again"


async def test_unknown_types_are_skipped_and_counted(place: Place) -> None:
    before = metrics.SKIPPED.labels(place.consumer)._value.get()
    await place.produce([("k", event(1, kind="com.example.other")), ("k", event(2))])
    async with running(place.consumer_of().run):
        await eventually(place.committed_everything)
    assert await place.effects() == [2]
    assert metrics.SKIPPED.labels(place.consumer)._value.get() == before + 1
    assert await place.scalar("SELECT count(*) FROM inbox") == 1


async def test_messages_of_a_key_keep_their_order_across_types(place: Place) -> None:
    kinds = [DID, UNDID, DID, DID, UNDID, UNDID, DID]
    await place.produce([("a", event(n, key="a", kind=kind)) for n, kind in enumerate(kinds)])
    async with running(place.consumer_of({DID: place.handle, UNDID: place.handle}).run):
        await eventually(place.committed_everything)
    assert await place.effects() == list(range(len(kinds)))


async def test_a_validation_error_is_a_dead_letter_at_once_and_a_bug_is_retried(place: Place) -> None:
    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            if message.event.json()["n"] == 1:
                raise InvalidInput("n must not be 1")
            if message.event.json()["n"] == 2 and message.attempt == 1:
                raise ZeroDivisionError("a bug")
        await write_effects(tx, messages)

    await place.produce([(f"k{n}", event(n, key=f"k{n}")) for n in range(4)])
    async with running(place.consumer_of({DID: handle}).run):
        await eventually(lambda: effect_count(place, 3))
    (letter,) = await place.rows("SELECT reason, attempts FROM dead_letter")
    assert (letter.reason, letter.attempts) == ("n must not be 1", 1)


async def test_a_broken_statement_in_a_handler_is_the_messages_own_failure(place: Place) -> None:
    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            await tx.execute(text("SELECT 1 / CAST(:n AS integer)"), {"n": message.event.json()["n"]})
        await write_effects(tx, messages)

    await place.produce([(f"k{n}", event(n, key=f"k{n}")) for n in range(10)])
    async with running(place.consumer_of({DID: handle}).run):
        await eventually(lambda: dead_count(place, 1))
        await eventually(lambda: effect_count(place, 9))
    (letter,) = await place.rows("SELECT reason_code, reason FROM dead_letter")
    assert letter.reason_code == "database-error"
    assert "division by zero" in letter.reason


async def test_a_batch_is_one_span_linked_to_the_traces_of_its_messages(place: Place) -> None:
    trace_ids = [f"{n:032x}" for n in (1, 2, 3)]
    contexts: list[str] = []

    async def handle(_tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            with telemetry.span("inner", context=message.context):
                contexts.append((telemetry.current_traceparent() or "").split("-")[1])

    with telemetry.recording() as spans:
        for n, trace_id in enumerate(trace_ids):
            item = event(n)
            headers = [*to_headers(item), ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01".encode())]
            await place.produce_raw([("k", headers, item.data)])
        async with running(place.consumer_of({DID: handle}).run):
            await eventually(place.committed_everything)
        batches = spans.named(f"process {place.consumer}")
    assert contexts == trace_ids
    assert [f"{link.context.trace_id:032x}" for span in batches for link in span.links] == trace_ids
    assert all((span.attributes or {})["messaging.system"] == "kafka" for span in batches)


async def effect_count(place: Place, count: int) -> bool:
    return len(await place.effects()) >= count


async def dead_count(place: Place, count: int) -> bool:
    return bool(await place.scalar("SELECT count(*) >= :count FROM dead_letter", count=count))


async def outbox_is_empty(place: Place) -> bool:
    return bool(await place.scalar("SELECT count(*) = 0 FROM outbox"))


async def test_a_record_the_client_cannot_decode_does_not_stop_its_partition(place: Place) -> None:
    for n in range(5):
        await place.produce([("k", event(n))])
    await _produce_undecodable(place, "k")
    await place.produce([("k", event(n)) for n in range(5, 10)])
    async with running(place.consumer_of().run):
        await eventually(lambda: effect_count(place, 10), seconds=30, what="what lies behind it")
        await eventually(place.committed_everything, what="all offsets")
        await place.produce([("k", event(10))])
        await eventually(lambda: effect_count(place, 11), what="life goes on")
    assert await place.effects() == list(range(11))
    (letter,) = await place.rows("SELECT reason_code, reason, record_offset FROM dead_letter")
    assert (letter.reason_code, letter.record_offset) == ("unreadable-record", 5)
    assert "records 5 to 6 " in letter.reason, "two in one batch of their producer"


async def _produce_undecodable(place: Place, key: str) -> None:
    """Two records with a header name that is no UTF-8, as a producer in another language may write it."""
    producer = AIOKafkaProducer(bootstrap_servers=place.kafka.bootstrap)
    await producer.start()
    batch = producer.create_batch()
    for _ in range(2):
        batch.append(timestamp=None, key=key.encode(), value=b"{}", headers=[("hé", b"x")])
    batch.close()
    encoded = bytearray(batch._build())
    while (at := encoded.find("é".encode())) >= 0:
        encoded[at : at + 2] = b"\xff\xfe"
    struct.pack_into(">I", encoded, 17, calc_crc32c(bytes(encoded[21:])))
    batch._buffer = bytes(encoded)
    partition = (murmur2(key.encode()) & 0x7FFFFFFF) % place.partitions
    await (await producer.send_batch(batch, place.topic, partition=partition))
    await producer.stop()
