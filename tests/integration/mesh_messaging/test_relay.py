"""The relay on real PostgreSQL and Apache Kafka: per-key order, failures of either side."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError
from sqlalchemy import text

from mesh_messaging.envelope import from_record
from mesh_messaging.kafka import KafkaSettings, make_producer
from mesh_messaging.outbox import OutboundMessage, append, append_raw
from mesh_messaging.records import RawRecord
from mesh_messaging.relay import Relay
from mesh_messaging.schema import SHARD_COUNT
from mesh_messaging.sending import ClaimedMessage, Sender
from mesh_runtime.db import Database
from support.messaging import Place, event, first_occurrences, outbox_is_empty, running
from support.toxic import through, toxic
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def test_what_arrives_is_what_was_appended_headers_and_trace_included(place: Place) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    sent = event(1)
    sent = type(sent)(sent.id, "/s", sent.type, sent.time, "söbject", "tenant", sent.data, trace, {"lane": "x"})
    await place.append([("k", sent)])
    async with running(place.relay().run):
        await eventually(lambda: outbox_is_empty(place))
    (record,) = await place.records()
    assert record.key == b"k"
    assert from_record(record.headers, record.value) == sent


async def test_the_partition_of_a_key_is_the_one_every_client_chooses(place: Place) -> None:
    keys = [f"customer:{n}" for n in range(50)]
    await place.produce([(key, event(0, key=key)) for key in keys])
    await place.append([(key, event(1, key=key)) for key in keys])
    async with running(place.relay().run):
        await eventually(lambda: outbox_is_empty(place))
    placed: dict[bytes, set[int]] = {}
    for record in await place.records():
        placed.setdefault(record.key, set()).add(record.partition)
    assert len(placed) == 50
    assert all(len(partitions) == 1 for partitions in placed.values())


async def test_raw_records_keep_their_bytes(place: Place) -> None:
    raws = [
        RawRecord(place.topic, -1, -1, b"\x00\xff", (("x", b"\xfe"), ("y", b"")), b"\x01"),
        RawRecord(place.topic, -1, -1, None, (), b"keyless"),
        RawRecord(place.topic, -1, -1, b"tombstone", (), None),
    ]
    async with place.db.transaction() as tx:
        await append_raw(tx, raws)
    async with running(place.relay().run):
        await eventually(lambda: outbox_is_empty(place))
    seen = {(record.key, record.value, tuple(record.headers)) for record in await place.records()}
    assert seen == {(raw.key, raw.value, raw.headers) for raw in raws}


async def test_a_notification_wakes_an_idle_relay(place: Place) -> None:
    async with running(place.relay(poll_seconds=30.0).run):
        await eventually(lambda: holds_all_shards(place), what="leases")
        for n in range(5):
            await place.append([("k", event(n))])
            await eventually(lambda: outbox_is_empty(place), seconds=5)


async def test_without_notifications_the_poll_finds_the_messages(place: Place) -> None:
    async with running(place.relay().run):
        await eventually(lambda: holds_all_shards(place), what="leases")
        await place.append([("k", event(1))])
        await eventually(lambda: outbox_is_empty(place))
        async with place.db.transaction() as tx:
            await tx.execute(
                text("INSERT INTO outbox (shard, topic, key, headers, value) VALUES (3, :topic, 'x', '[]', '{}')"),
                {"topic": place.topic},
            )
        await eventually(lambda: outbox_is_empty(place), seconds=5)


async def test_a_rolled_back_use_case_says_nothing(place: Place) -> None:
    async def fail() -> None:
        async with place.db.transaction() as tx:
            await append(tx, [OutboundMessage(place.topic, "k", event(1))])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await place.append([("k", event(2))])
    async with running(place.relay().run):
        await eventually(lambda: outbox_is_empty(place))
    assert [orjson.loads(record.value)["n"] for record in await place.records()] == [2]


async def test_a_topic_that_does_not_exist_does_not_stop_the_others(place: Place) -> None:
    await place.append([("k", event(n)) for n in range(3)], topic="ucmesh.nowhere.v1")
    await place.append([("k", event(n)) for n in range(3)])
    async with running(place.relay().run):
        await eventually(lambda: delivered(place, 3), what="the other topic", seconds=10)
        assert await place.scalar("SELECT count(*) FROM outbox") == 3, "kept until somebody creates the topic"


async def test_an_unreachable_broker_keeps_the_rows_and_is_tried_again(place: Place) -> None:
    reachable = False

    def factory() -> Any:
        return make_producer(place.kafka if reachable else KafkaSettings("127.0.0.1:1"))

    await place.append([("k", event(n)) for n in range(10)])
    async with running(Relay(place.db, factory).run):
        await eventually(lambda: holds_all_shards(place))
        with pytest.raises(KafkaConnectionError):
            await Sender(factory).send([_claimed(place)])
        assert await place.scalar("SELECT count(*) FROM outbox") == 10
        reachable = True
        await eventually(lambda: outbox_is_empty(place))
    assert first_occurrences(await place.records()) == {"k": list(range(10))}


async def test_a_failed_partition_is_sent_again_from_its_first_message(place: Place) -> None:
    """Nothing of a key may be acknowledged behind something of it that failed."""
    await place.append([("k", event(n)) for n in range(10)])
    relay = place.relay()
    send_batch = relay._sender._send_batch
    failures = iter([KafkaError("lost")])

    async def fail_once(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return await send_batch(*arguments)

    relay._sender._send_batch = fail_once  # type: ignore[method-assign]
    async with running(relay.run):
        await eventually(lambda: outbox_is_empty(place))
    assert first_occurrences(await place.records()) == {"k": list(range(10))}


async def test_a_batch_too_big_for_one_request_goes_out_in_several(place: Place) -> None:
    await place.append([("k", event(n, filler="x" * 300_000)) for n in range(9)])
    async with running(place.relay().run):
        await eventually(lambda: outbox_is_empty(place))
    assert first_occurrences(await place.records()) == {"k": list(range(9))}


async def test_an_append_outlives_a_lost_notification_connection(place: Place) -> None:
    async with running(place.relay().run):
        await eventually(lambda: holds_all_shards(place))
        await place.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE '%-listen'"
        )
        await place.append([("k", event(n)) for n in range(5)])
        await eventually(lambda: outbox_is_empty(place))
    assert first_occurrences(await place.records()) == {"k": list(range(5))}


async def holds_all_shards(place: Place) -> bool:
    return bool(
        await place.scalar("SELECT count(*) = :all FROM outbox_lease WHERE expires_at > now()", all=SHARD_COUNT)
    )


async def delivered(place: Place, count: int) -> bool:
    return len(await place.records()) >= count


def _claimed(place: Place) -> ClaimedMessage:
    return ClaimedMessage(0, 1, place.topic, b"k", "[]", b"{}")


async def test_a_topic_that_allows_less_than_the_default_is_found_out(place: Place) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=place.kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("ucmesh.narrow.v1", 1, 1, topic_configs={"max.message.bytes": "20000"})])
    await admin.close()
    await place.append([("k", event(n, filler="x" * 1_000)) for n in range(100)], topic="ucmesh.narrow.v1")
    async with running(place.relay().run):
        await eventually(lambda: outbox_is_empty(place), seconds=25)
    assert first_occurrences(await place.records("ucmesh.narrow.v1")) == {"k": list(range(100))}


async def test_a_broker_that_falls_silent_is_waited_for_and_the_lease_goes_on(place: Place) -> None:
    """Only one relay's way to the broker is dead: another one takes its shards, and nothing is lost or reordered."""
    host, _, port = place.kafka.bootstrap.partition(":")
    async with toxic(host, int(port)) as proxy:
        cut_off = Relay(place.db, lambda: make_producer(KafkaSettings(f"{host}:{proxy.port}")), lease_seconds=0.5)
        async with running(cut_off.run):
            await eventually(lambda: holds_all_shards(place), what="leases")
            await proxy.down()
            await place.append([(f"k{n % 4}", event(n, key=f"k{n % 4}")) for n in range(40)])
            async with running(place.relay(lease_seconds=0.5).run):
                await eventually(lambda: outbox_is_empty(place), seconds=30)
    assert first_occurrences(await place.records()) == {f"k{k}": list(range(k, 40, 4)) for k in range(4)}


async def test_a_database_cut_off_in_the_middle_loses_nothing(place: Place) -> None:
    """The answer to a commit may be lost: what was done is not done again, what was not is."""
    parts = urlsplit(place.url)
    async with toxic(parts.hostname or "", parts.port or 0) as proxy:
        shaky = replace(place, db=Database(through(place.url, proxy.port)), calls=[])
        async with running(shaky.relay(lease_seconds=0.5).run, shaky.consumer_of(batch_size_max=20).run):
            await place.append([(f"k{n % 4}", event(n, key=f"k{n % 4}")) for n in range(1_000)])
            for cut_after_bytes in (20_000, 5_000, 60_000, 1_000):
                before, accepted = len(await place.effects()), proxy.accepted
                proxy.cut_after_bytes = cut_after_bytes
                proxy.reset_all()
                await eventually(lambda: proxy.accepted > accepted + 2, what="some connections made and cut")  # noqa: B023
                proxy.cut_after_bytes = None
                await eventually(lambda: progressed(place, before), seconds=20)  # noqa: B023
            await eventually(lambda: outbox_is_empty(place), seconds=20)
            await eventually(lambda: effect_count(place, 1_000), seconds=20)
        await shaky.db.close()
    assert await place.effects_by_key() == {f"k{k}": list(range(k, 1_000, 4)) for k in range(4)}


async def effect_count(place: Place, count: int) -> bool:
    return len(await place.effects()) >= count


async def progressed(place: Place, before: int) -> bool:
    return len(await place.effects()) > min(before, 999)
