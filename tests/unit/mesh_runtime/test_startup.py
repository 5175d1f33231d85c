"""A start waits for what it needs: bounded, with the API up and everything else held back."""

import asyncio

import pytest

from mesh_runtime.errors import Conflict, Unavailable
from mesh_runtime.health import Health
from mesh_runtime.roles import Role, RoleFailed, run_roles
from mesh_runtime.startup import after
from support.waiting import eventually


class Story:
    """A preparation that is told how to end, and two roles that note when they run."""

    def __init__(self) -> None:
        self.health = Health({})
        self.error: Exception | None = Unavailable("the database does not answer", code="database-unavailable")
        self.attempts = 0
        self.ran: list[str] = []

    async def prepare(self) -> None:
        self.attempts += 1
        if self.error is not None:
            raise self.error

    def roles(self, *, seconds_max: float = 60) -> list[Role]:
        return after(self.prepare, [self._role("api"), self._role("worker")], self.health, seconds_max=seconds_max)

    def _role(self, name: str) -> Role:
        async def run(stop: asyncio.Event) -> None:
            self.ran.append(name)
            await stop.wait()

        return Role(name, run)


async def test_only_the_api_runs_until_the_preparation_succeeds() -> None:
    story, stop = Story(), asyncio.Event()
    running = asyncio.create_task(run_roles(story.roles(), stop=stop))
    await eventually(lambda: story.attempts > 1)
    assert story.ran == ["api"]
    assert story.health.is_starting
    assert not story.health.is_started
    story.error = None
    await eventually(lambda: story.ran == ["api", "worker"])
    assert story.health.is_started
    assert not story.health.is_starting
    stop.set()
    await running


async def test_waiting_is_bounded() -> None:
    with pytest.raises(RoleFailed, match="does not answer"):
        await run_roles(Story().roles(seconds_max=0))


async def test_what_does_not_pass_by_waiting_ends_the_start_at_once() -> None:
    story = Story()
    story.error = Conflict("a revision is wrong")
    with pytest.raises(RoleFailed, match="a revision is wrong"):
        await run_roles(story.roles())
    assert story.attempts == 1


async def test_a_stop_ends_the_waiting() -> None:
    story, stop = Story(), asyncio.Event()
    running = asyncio.create_task(run_roles(story.roles(), stop=stop))
    await eventually(lambda: story.attempts > 0)
    stop.set()
    await running
    assert story.ran == ["api"]
