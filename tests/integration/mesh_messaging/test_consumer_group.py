"""Consumers that share, stall, lose their broker or their database, or are told to stop."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import consumer as consumer_module
from mesh_messaging.message import InboundMessage
from mesh_runtime.errors import Unavailable
from support.messaging import DID, Place, event, running, write_effects
from support.real_parts import Kafka, Postgres
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def events(count: int, keys: int = 12, first: int = 0) -> list[tuple[str | None, Any]]:
    return [(f"k{n % keys}", event(n, key=f"k{n % keys}")) for n in range(first, first + count)]


async def assert_each_once_in_order(place: Place, count: int, keys: int = 12) -> None:
    assert Counter(await place.effects()) == Counter(range(count))
    assert await place.effects_by_key() == {f"k{k}": list(range(k, count, keys)) for k in range(keys)}


async def test_a_second_member_joins_while_the_first_is_handling(place: Place) -> None:
    handling = asyncio.Event()

    async def slow(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        handling.set()
        await asyncio.sleep(0.05)
        await write_effects(tx, messages)

    await place.produce(events(600))
    async with running(place.consumer_of({DID: slow}, batch_size_max=20).run):
        await handling.wait()
        async with running(place.consumer_of({DID: slow}, batch_size_max=20).run):
            await place.produce(events(600, first=600))
            await eventually(lambda: effect_count(place, 1200), seconds=30, what="all effects")
        await place.produce(events(120, first=1200))
        await eventually(lambda: effect_count(place, 1320), what="effects after one member left")
    await assert_each_once_in_order(place, 1320)


async def test_a_member_that_keeps_a_revoked_batch_too_long_doubles_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rebalance does not wait; the new owner reads the same records and waits at the inbox for the old one."""
    monkeypatch.setattr(consumer_module, "REVOKE_WAIT_SECONDS", 0.05)
    started, release = asyncio.Event(), asyncio.Event()

    async def stuck(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await write_effects(tx, messages)
        started.set()
        await release.wait()

    await place.produce(events(40))
    async with running(place.consumer_of({DID: stuck}).run):
        await started.wait()
        async with running(place.consumer_of().run):
            await eventually(lambda: waits_for_a_lock(place), seconds=20, what="the new owner at the inbox")
            release.set()
            await eventually(lambda: effect_count(place, 40), what="all effects")
            await eventually(place.committed_everything, what="all offsets")
    await assert_each_once_in_order(place, 40)


async def test_a_handler_slower_than_the_poll_interval_keeps_its_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = replace(place.kafka, max_poll_interval_ms=1_000)
    calls: list[int] = []
    joined: list[int] = []

    async def on_partitions_assigned(_listener: object, assigned: set[object]) -> None:
        joined.append(len(assigned))

    monkeypatch.setattr(consumer_module._Listener, "on_partitions_assigned", on_partitions_assigned)

    async def slow(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        calls.append(len(messages))
        await asyncio.sleep(3)
        await write_effects(tx, messages)

    await place.produce(events(24))
    async with running(place.consumer_of({DID: slow}, kafka=impatient).run):
        await eventually(lambda: effect_count(place, 24), seconds=40, what="all effects")
        await eventually(place.committed_everything, what="all offsets")
        await place.produce(events(12, first=24))
        await eventually(lambda: effect_count(place, 36), seconds=40, what="the member still consumes")
        await eventually(place.committed_everything, what="all offsets")
    await assert_each_once_in_order(place, 36)
    assert sum(calls) == 36
    assert joined == [4], "it never lost its place"


async def test_the_broker_may_restart(place: Place, kafka_broker: Kafka) -> None:
    async with running(place.relay().run, place.consumer_of().run):
        await place.append([(key or "", item) for key, item in events(60)])
        await eventually(lambda: effect_count(place, 60), what="effects before")
        await kafka_broker.stop()
        await place.append([(key or "", item) for key, item in events(60, first=60)])
        await kafka_broker.start()
        await eventually(lambda: effect_count(place, 120), seconds=40, what="effects after")
        await eventually(place.committed_everything, seconds=20, what="all offsets")
    await assert_each_once_in_order(place, 120)


async def test_the_broker_may_be_killed(place: Place, kafka_broker: Kafka) -> None:
    async with running(place.relay().run, place.consumer_of(batch_size_max=50).run):
        await place.append([(key or "", item) for key, item in events(3_000)])
        await eventually(lambda: effect_count(place, 100), what="some effects")
        kafka_broker.kill()
        await place.append([(key or "", item) for key, item in events(600, first=3_000)])
        await kafka_broker.start()
        await eventually(lambda: effect_count(place, 3_600), seconds=50, what="all effects")
    await assert_each_once_in_order(place, 3_600)


async def test_the_brokers_disk_may_be_full_for_a_while(place: Place, kafka_broker: Kafka) -> None:
    async with running(place.relay().run, place.consumer_of().run):
        await place.append([(key or "", item) for key, item in events(60)])
        await eventually(lambda: effect_count(place, 60), what="what came before", seconds=40)
        kafka_broker.fill_disk()
        await place.append([(key or "", item) for key, item in events(60, first=60)])
        await eventually(lambda: not kafka_broker.is_running, what="the broker gives up its only disk", seconds=60)
        await place.append([(key or "", item) for key, item in events(60, first=120)])
        assert await place.scalar("SELECT count(*) FROM outbox") >= 60, "kept until the broker is back"
        await kafka_broker.start()
        await eventually(lambda: effect_count(place, 180), what="all effects", seconds=60)
    await assert_each_once_in_order(place, 180)


@pytest.mark.parametrize("way", ["restart", "kill"])
async def test_the_database_may_go_away(place: Place, postgres_server: Postgres, way: str) -> None:
    async with running(place.relay().run, place.consumer_of(batch_size_max=50).run):
        await place.append([(key or "", item) for key, item in events(3_000)])
        await eventually(lambda: effect_count(place, 100), what="some effects")
        if way == "kill":
            postgres_server.kill()
            await postgres_server.start()
        else:
            await postgres_server.restart()
        await eventually(lambda: effect_count(place, 3_000), seconds=50, what="all effects")
        await eventually(place.committed_everything, what="all offsets")
    await assert_each_once_in_order(place, 3_000)
    assert await place.scalar("SELECT count(*) FROM parked_message") == 0, "nobody's fault, so nothing climbs"
    assert await place.scalar("SELECT count(*) FROM dead_letter") == 0


async def test_a_stop_finishes_the_running_batch_and_commits_its_offsets(place: Place) -> None:
    started = asyncio.Event()

    async def slow(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        started.set()
        await asyncio.sleep(1)
        await write_effects(tx, messages)

    await place.produce(events(24))
    async with running(place.consumer_of({DID: slow}).run):
        await started.wait()
        stopped_at = time.monotonic()
    assert time.monotonic() - stopped_at < 8
    taken = len(await place.effects())
    assert taken > 0
    async with running(place.consumer_of().run):
        await eventually(place.committed_everything, what="the rest")
    await assert_each_once_in_order(place, 24)


async def test_a_stop_while_the_database_is_away_ends_in_time_and_loses_nothing(
    place: Place, postgres_server: Postgres
) -> None:
    started, proceed = asyncio.Event(), asyncio.Event()

    async def slow(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        started.set()
        await proceed.wait()
        await write_effects(tx, messages)

    await place.produce(events(24))
    async with running(place.consumer_of({DID: slow}).run):
        await started.wait()
        postgres_server.kill()
        proceed.set()
    await postgres_server.start()
    async with running(place.consumer_of().run):
        await eventually(place.committed_everything, seconds=20, what="all offsets")
    await assert_each_once_in_order(place, 24)


async def test_a_batch_that_breaks_the_connection_every_time_ends_as_a_message_failure(place: Place) -> None:
    """Contention that never ends must not block the partition: the guilty message goes to the ladder."""

    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await write_effects(tx, messages)
        if any(message.event.json()["n"] == 5 for message in messages):
            raise Unavailable("deadlock, again", code="database-contention")

    await place.produce(events(24))
    async with running(place.consumer_of({DID: handle}).run):
        await eventually(lambda: effect_count(place, 22), seconds=30, what="the others")
        await eventually(lambda: parked_count(place, 1), seconds=30, what="the guilty one")


async def test_two_processes_share_the_ladder(place: Place) -> None:
    async def flaky(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        if any(message.attempt == 1 and message.event.json()["n"] < 12 for message in messages):
            raise Unavailable("not now")
        await write_effects(tx, messages)

    await place.produce(events(240))
    async with running(place.consumer_of({DID: flaky}).run, place.consumer_of({DID: flaky}).run):
        await eventually(lambda: effect_count(place, 240), seconds=30, what="all effects")
    await assert_each_once_in_order(place, 240)


async def effect_count(place: Place, count: int) -> bool:
    try:
        return int(await place.scalar("SELECT count(*) FROM effect")) >= count
    except Unavailable:
        return False


async def parked_count(place: Place, count: int) -> bool:
    return bool(await place.scalar("SELECT count(*) >= :count FROM parked_message", count=count))


async def waits_for_a_lock(place: Place) -> bool:
    return bool(
        await place.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE '%INTO inbox%'"
        )
    )
