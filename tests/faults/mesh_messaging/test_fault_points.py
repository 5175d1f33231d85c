"""Die, fail or stall at every fault point of messaging: the end is that of the undisturbed run."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import mesh_messaging.deadletters_http
import mesh_messaging.relay  # noqa: F401
from mesh_messaging.consumer import BatchConsumer
from mesh_runtime import faults
from support import messaging_story as story
from support.messaging import Place, make_place, running
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TESTS = Path(__file__).resolve().parents[2]
AREAS = ("consumer.", "ladder.", "deadletter.", "outbox.", "relay.", "db.")
POINTS = sorted(name for name in faults.registry() if name.startswith(AREAS))
KILLED = -signal.SIGKILL


@pytest.fixture
async def place(fresh_database: Callable[[], str], kafka_bootstrap: str) -> AsyncIterator[Place]:
    made = await make_place(fresh_database(), kafka_bootstrap)
    await story.prepare(made)
    yield made
    await made.db.close()


async def start(place: Place, specification: str = "", instance: str = "only") -> asyncio.subprocess.Process:
    environment = os.environ | {"PYTHONPATH": str(TESTS), faults.ENVIRONMENT_VARIABLE: specification}
    arguments = (place.url, place.kafka.bootstrap, place.topic, place.consumer, instance)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.messaging_story",
        *arguments,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(place: Place, *processes: asyncio.subprocess.Process) -> None:
    """Wait for the end of the story, then ask the processes to stop and wait for their drain."""
    try:
        await eventually(lambda: story.is_finished(place), seconds=40, what="the end of the story")
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            _, log = await asyncio.wait_for(process.communicate(), 12)
            # A process that was told to end before it could listen for that ended by the signal.
            assert process.returncode in {0, -signal.SIGTERM}, log.decode()[-2000:]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    await story.assert_the_end(place)


def test_every_area_of_messaging_has_fault_points() -> None:
    assert BatchConsumer
    assert {name.split(".")[0] for name in POINTS} == {area.rstrip(".") for area in AREAS}


async def test_undisturbed(place: Place) -> None:
    await finish(place, await start(place))


async def live(place: Place, specification: str) -> int | None:
    """One life of the process, to its death or to the end of the story; its exit code."""
    process = await start(place, specification)
    died = asyncio.create_task(process.communicate())
    ended = asyncio.create_task(eventually(lambda: story.is_finished(place), seconds=40))
    await asyncio.wait({died, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not died.done():
        process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(died, 15)
    ended.cancel()
    return process.returncode


async def tell_to_the_end(place: Place) -> None:
    """The rest of the story, undisturbed."""
    if await story.is_finished(place):
        await story.assert_the_end(place)
    else:
        await finish(place, await start(place))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at(place: Place, point: str) -> None:
    assert await live(place, f"{point}@1=kill") == KILLED
    await tell_to_the_end(place)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("point", "hit"),
    [
        ("consumer.after_commit", 3),
        ("ladder.after_commit", 2),
        ("relay.after_send", 2),
    ],
)
async def test_killed_later_at(place: Place, point: str, hit: int) -> None:
    assert await live(place, f"{point}@{hit}=kill") in {KILLED, 0}
    await tell_to_the_end(place)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("hit", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
async def test_failing_at(place: Place, point: str, hit: int) -> None:
    """The n-th failure loop: an error instead of a death, in a process that goes on."""
    with faults.inject(point, hit, "error"):
        async with running(*story.roles(place)):
            await eventually(lambda: story.is_finished(place), seconds=30, what="the end of the story")
        assert hit > 1 or point in faults.observed()
    await story.assert_the_end(place)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("point", "seconds"),
    [("relay.before_send", 3), ("relay.after_send", 3), ("consumer.before_commit", 8), ("ladder.before_commit", 4)],
)
async def test_stalled_at_while_another_process_goes_on(place: Place, point: str, seconds: int) -> None:
    """A stalled process keeps its leases, locks and place in the group only for a while; waking, it adds nothing."""
    stalled = await start(place, f"{point}@1=pause:{seconds}", instance="")
    other = await start(place, instance="")
    await finish(place, stalled, other)


async def test_killed_over_and_over(place: Place) -> None:
    """Each life is a little longer than the one before, so the deaths spread over the whole story."""
    for hit in range(1, 6):
        await live(place, f"db.before_commit@{hit * 4}=kill")
    await tell_to_the_end(place)
