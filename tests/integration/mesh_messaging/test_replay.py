"""A topic is read again: what the database knows is dropped, what a restored one lost is handled, once."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from aiokafka import TopicPartition

from mesh_messaging import replay
from mesh_messaging.envelope import to_headers
from mesh_messaging.inbox import KEEP
from mesh_messaging.kafka import make_producer
from mesh_messaging.replay import Replay, Start
from mesh_runtime.db import Database
from mesh_runtime.errors import Conflict
from support.messaging import Place, event, plain_client, running
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Run = Callable[..., Awaitable[int]]


@pytest.fixture
def command(place: Place) -> Run:
    """The command of a service whose consumer the place's is."""

    async def run(*arguments: str) -> int:
        argv = [place.topic, *arguments]
        return await replay.run(argv, place.kafka, name=place.consumer, topics=[place.topic])

    return run


async def consume(place: Place, effects: int) -> None:
    """Run the consumer until so many effects are there and everything is committed; then stop it."""

    async def settled() -> bool:
        return len(await place.effects()) >= effects and await place.committed_everything()

    async with running(place.consumer_of().run):
        await eventually(settled, seconds=120, what=f"{effects} effects")


async def back_up(place: Place, postgres_url: str) -> None:
    """Keep a copy of the database as it is now."""
    name = place.url.rpartition("/")[2]
    await place.db.close()
    server = await asyncpg.connect(postgres_url)
    try:
        await server.execute(f'CREATE DATABASE "{name}_backup" TEMPLATE "{name}"')
    finally:
        await server.close()


async def restore(place: Place) -> None:
    """Put the copy in the place of the database."""
    await place.db.close()
    place.url += "_backup"
    place.db = Database(place.url)


async def test_what_a_restored_database_lost_is_handled_once_and_the_rest_absorbed(
    place: Place, postgres_url: str, command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.produce([(f"k{n % 5}", event(n, key=f"k{n % 5}")) for n in range(40)])
    await consume(place, 40)
    await back_up(place, postgres_url)
    await place.produce([(f"k{n % 5}", event(n, key=f"k{n % 5}")) for n in range(40, 70)])
    await consume(place, 70)

    await restore(place)
    assert len(await place.effects()) == 40
    assert await command("--from-beginning", "--yes") == 0
    assert "70 records" in capsys.readouterr().out
    await consume(place, 70)
    assert sorted(await place.effects()) == list(range(70))
    assert await place.effects_by_key() == {f"k{k}": list(range(k, 70, 5)) for k in range(5)}


async def test_known_messages_are_absorbed(place: Place, command: Run) -> None:
    await place.produce([(None, event(n)) for n in range(30)])
    await consume(place, 30)
    assert await command("--from-beginning", "--yes") == 0
    assert not await place.committed_everything()
    await consume(place, 30)
    assert sorted(await place.effects()) == list(range(30))


async def test_a_time_chooses_the_records_since_then(
    place: Place, command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    began = datetime.now(UTC) - timedelta(hours=3)
    await produce_at(place, [(began + timedelta(hours=n), n) for n in range(3)])
    await consume(place, 3)
    since = began + timedelta(minutes=30)
    assert await command("--from-time", since.isoformat(), "--yes") == 0
    assert "2 records; those" in capsys.readouterr().out
    async with plain_client(place.kafka, place.consumer) as client:
        client.assign([TopicPartition(place.topic, 0)])
        assert await client.committed(TopicPartition(place.topic, 0)) == 1


async def test_records_older_than_the_inbox_remembers_are_left_out(place: Place) -> None:
    now = datetime.now(UTC)
    await produce_at(place, [(now - timedelta(hours=2 - n), n) for n in range(3)])
    await consume(place, 3)
    # The broker's clock cannot be turned, and records that are older than its retention go: so it is later here.
    later = now + KEEP - timedelta(minutes=30)
    async with Replay(place.kafka, place.consumer, now=lambda: later) as one:
        (stretch,) = await one.plan(place.topic, Start(partition=0))
    assert (stretch.begin, stretch.forgotten, stretch.count) == (2, 2, 1)


async def test_a_group_never_moves_forward_and_an_offset_counts_in_its_partition(place: Place) -> None:
    await produce_at(place, [(datetime.now(UTC), n) for n in range(5)])
    async with Replay(place.kafka, place.consumer) as one:
        assert [each.count for each in await one.plan(place.topic, Start())] == [0, 0, 0, 0]
    await consume(place, 5)
    async with Replay(place.kafka, place.consumer) as one:
        for offset, count in ((3, 2), (5, 0), (9, 0)):
            (stretch,) = await one.plan(place.topic, Start(offset=offset, partition=0))
            assert stretch.count == count


async def test_a_running_group_is_refused_by_us_and_by_the_broker(
    place: Place, command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.produce([(None, event(n)) for n in range(8)])
    await consume(place, 8)
    async with Replay(place.kafka, place.consumer) as late:
        stretches = await late.plan(place.topic, Start())
        async with running(place.consumer_of().run):
            await eventually(lambda: has_members(place), seconds=120, what="a member")
            assert await command("--from-beginning", "--yes") == 1
            assert "is running" in capsys.readouterr().err
            with pytest.raises(Conflict):
                await late.carry_out(place.topic, stretches)
    assert await place.committed_everything()


async def test_a_look_changes_nothing_and_without_a_yes_nothing_happens(
    place: Place, command: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.produce([(None, event(n)) for n in range(8)])
    await consume(place, 8)
    assert await command("--from-beginning", "--dry-run") == 0
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert await command("--from-beginning") == 1
    assert "--yes" in capsys.readouterr().err
    assert await place.committed_everything()


@pytest.mark.parametrize(
    "arguments",
    [
        ["ucmesh.other.v1", "--from-beginning"],
        ["TOPIC"],
        ["TOPIC", "--from-offset", "3"],
        ["TOPIC", "--from-offset", "-3", "--partition", "0"],
        ["TOPIC", "--from-time", "2026-11-28T09:00"],
        ["TOPIC", "--from-time", "yesterday"],
        ["TOPIC", "--from-beginning", "--from-offset", "3", "--partition", "0"],
    ],
)
async def test_wrong_usage_is_refused_before_anything_is_asked(database: Place, arguments: list[str]) -> None:
    argv = [database.topic if each == "TOPIC" else each for each in arguments]
    with pytest.raises(SystemExit) as end:
        await replay.run(argv, database.kafka, name="g", topics=[database.topic])
    assert end.value.code == 2


async def produce_at(place: Place, times: list[tuple[datetime, int]]) -> None:
    """Records in partition 0 with the times given."""
    producer = make_producer(place.kafka)
    await producer.start()
    try:
        for time, n in times:
            item = event(n)
            milliseconds = int(time.timestamp() * 1000)
            await producer.send_and_wait(
                place.topic, item.data, headers=to_headers(item), partition=0, timestamp_ms=milliseconds
            )
    finally:
        await producer.stop()


async def has_members(place: Place) -> bool:
    async with Replay(place.kafka, place.consumer) as one:
        try:
            await one.check_stopped()
        except Conflict:
            return True
    return False
