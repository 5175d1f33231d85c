"""Calls done together, and the journal of sessions that loses nothing."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pwsh_gateway.domain.journal import SessionJournal
from pwsh_gateway.domain.sessions import SessionKey, SessionRecord
from pwsh_gateway.entrypoints.together import Together

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


async def test_calls_that_come_meanwhile_are_done_together() -> None:
    batches: list[list[int]] = []
    gate, running = asyncio.Event(), asyncio.Event()

    async def run(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        running.set()
        await gate.wait()
        return [item * 10 for item in items]

    together = Together(run)
    first = asyncio.create_task(together(1))
    await running.wait()
    others = [asyncio.create_task(together(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30, 40]
    assert batches == [[1], [2, 3, 4]]


async def test_an_error_reaches_everybody_and_the_next_call_works() -> None:
    fails = True

    async def run(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        if fails:
            raise ValueError("no")
        return list(items)

    together = Together(run)
    results = await asyncio.gather(together(1), together(2), return_exceptions=True)
    assert [str(result) for result in results] == ["no", "no"]
    fails = False
    assert await together(3) == 3


async def test_a_caller_that_gives_up_does_not_stop_the_others() -> None:
    gate = asyncio.Event()

    async def run(items: Sequence[int]) -> list[int]:
        await gate.wait()
        return list(items)

    together = Together(run)
    gone, stays = asyncio.create_task(together(1)), asyncio.create_task(together(2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.set()
    assert await stays == 2


KEY = SessionKey("t", "MicrosoftTeams", uuid.UUID(int=2))
STARTING = SessionRecord(
    uuid.UUID(int=1), KEY, "northwind", False, "starting", 1, None, None, None, 0, 0, None, NOW, None, None, None
)
IDLE = replace(STARTING, state="idle", connected_at=NOW)
DEAD = replace(IDLE, state="dead", reason="idle", executions=7)


def test_a_session_is_told_of_once_when_it_serves_and_once_when_it_ends() -> None:
    journal = SessionJournal()
    for record in (STARTING, IDLE, replace(IDLE, state="busy"), IDLE, DEAD):
        journal.note(record, NOW)
    page = journal.take()
    assert [(event.action, event.reason, event.executions) for event in page.events] == [
        ("started", None, 0),
        ("ended", "idle", 7),
    ]
    assert page.records == {DEAD.session_id: DEAD}
    assert journal.take().is_empty()


def test_a_session_that_never_connected_is_written_but_not_told_of() -> None:
    journal = SessionJournal()
    journal.note(replace(STARTING, state="dead", reason="connect-failed"), NOW)
    page = journal.take()
    assert page.events == []
    assert len(page.records) == 1


def test_a_page_that_could_not_be_written_comes_again_with_newer_states() -> None:
    journal = SessionJournal()
    journal.note(IDLE, NOW)
    page = journal.take()
    journal.note(DEAD, NOW)
    journal.put_back(page)
    again = journal.take()
    assert [event.action for event in again.events] == ["started", "ended"]
    assert again.records[DEAD.session_id].state == "dead"
