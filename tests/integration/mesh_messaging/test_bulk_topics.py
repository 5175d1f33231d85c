"""Topics that are read beside the others: nothing waits for what lies in them, and all else is shared."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import replay
from mesh_messaging.message import InboundMessage
from mesh_messaging.names import bulk_group, dead_letter_topic
from mesh_runtime.errors import InvalidInput
from support.messaging import DID, Place, event, running, write_effects
from support.topics import make_topics
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

BULK, USUAL = 1_000, 12
"""Messages of the bulk topic are numbered from BULK on, all others from 0."""


@pytest.fixture
async def bulk(place: Place) -> Place:
    """The same place, seen from its bulk topic."""
    topic = place.topic.replace(".v1", "-bulk.v1")
    await make_topics(place.kafka, {topic: place.partitions, dead_letter_topic(topic, place.consumer): 1})
    return replace(place, topic=topic)


def events(first: int, count: int) -> list[tuple[str | None, Any]]:
    return [(f"k{n}", event(n, key=f"k{n}")) for n in range(first, first + count)]


async def test_nothing_waits_for_a_bulk_that_is_not_done(place: Place, bulk: Place) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        if messages[0].topic == bulk.topic:
            begun.set()
            await release.wait()
        await write_effects(tx, messages)

    await bulk.produce(events(BULK, 200))
    async with running(place.consumer_of({DID: handle}, bulk_topics=[bulk.topic], bulk_part_size_max=50).run):
        await begun.wait()
        await place.produce(events(0, USUAL))
        await eventually(lambda: count(place, USUAL), what="what came after the bulk")
        await eventually(place.committed_everything, what="its offsets")
        assert sorted(await place.effects()) == list(range(USUAL))
        release.set()
        await eventually(lambda: count(place, USUAL + 200), what="the bulk")
    assert sorted(await place.effects()) == [*range(USUAL), *range(BULK, BULK + 200)]


async def test_a_message_is_handled_once_whichever_way_it_comes(place: Place, bulk: Place) -> None:
    given = events(0, USUAL)
    async with running(place.consumer_of(bulk_topics=[bulk.topic]).run):
        await place.produce(given)
        await bulk.produce([*given, *events(BULK, 1)])
        await eventually(lambda: count(place, USUAL + 1), what="all of them")
        await eventually(place.committed_everything, what="the offsets")
        await eventually(lambda: bulk_committed(place, bulk), what="the offsets of the bulk")
    assert sorted(await place.effects()) == [*range(USUAL), BULK]


async def test_what_fails_in_a_bulk_climbs_the_one_ladder_and_ends_among_the_dead_letters(
    place: Place, bulk: Place
) -> None:
    attempts: list[int] = []

    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            if message.event.json()["n"] == BULK:
                attempts.append(message.attempt)
                raise RuntimeError("never")
            if message.event.json()["n"] == BULK + 1:
                raise InvalidInput("no sense in it")
        await write_effects(tx, messages)

    await bulk.produce(events(BULK, 10))
    async with running(place.consumer_of({DID: handle}, bulk_topics=[bulk.topic]).run):
        await eventually(lambda: letters(place, 2), what="the dead letters")
        await eventually(lambda: count(place, 8), what="the others")
    rows = await place.rows("SELECT DISTINCT consumer, topic FROM dead_letter")
    assert [tuple(row) for row in rows] == [(place.consumer, bulk.topic)]
    assert max(attempts) == 4, "the first attempt and three rungs"
    letter = dead_letter_topic(bulk.topic, place.consumer)
    assert await place.scalar("SELECT count(*) FROM outbox WHERE topic = :letter", letter=letter) == 2


async def test_a_bulk_topic_is_replayed_by_the_group_that_reads_it(
    place: Place, bulk: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    await bulk.produce(events(BULK, 10))
    async with running(place.consumer_of(bulk_topics=[bulk.topic]).run):
        await eventually(lambda: count(place, 10), what="the bulk")
        await eventually(lambda: bulk_committed(place, bulk), what="its offsets")
    argv = [bulk.topic, "--from-beginning", "--yes"]
    await place.rows("DELETE FROM inbox WHERE id IN (SELECT event_id FROM effect LIMIT 3) RETURNING id")
    done = await replay.run(argv, place.kafka, name=place.consumer, topics=[place.topic], bulk_topics=[bulk.topic])
    assert done == 0
    assert f"start {bulk_group(place.consumer)} again, it reads 10 records" in capsys.readouterr().out
    async with running(place.consumer_of(bulk_topics=[bulk.topic]).run):
        await eventually(lambda: count(place, 13), what="what the inbox did not know")
        await eventually(lambda: bulk_committed(place, bulk), what="its offsets")
    assert len(await place.effects()) == 13


async def test_topics_that_are_not_there_yet_hold_up_nothing_else(place: Place) -> None:
    """A release may come before its topics: what is there already goes on, and they are read once they come."""
    late = place.topic.replace(".v1", "-late.v1")
    async with running(place.consumer_of(bulk_topics=[late]).run):
        await place.produce(events(0, USUAL))
        await eventually(lambda: count(place, USUAL), what="the usual topic")
        await make_topics(place.kafka, {late: 1, dead_letter_topic(late, place.consumer): 1})
        await place.produce(events(BULK, 1), late)
        await eventually(lambda: count(place, USUAL + 1), seconds=60, what="the late topic")


async def bulk_committed(place: Place, bulk: Place) -> bool:
    return await replace(bulk, consumer=bulk_group(place.consumer)).committed_everything()


async def count(place: Place, wanted: int) -> bool:
    return len(await place.effects()) >= wanted


async def letters(place: Place, wanted: int) -> bool:
    return bool(await place.scalar("SELECT count(*) >= :wanted FROM dead_letter", wanted=wanted))
