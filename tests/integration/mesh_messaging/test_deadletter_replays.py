"""Replays of dead letters on real PostgreSQL: as they were, repaired, given up again, by two at once."""

import asyncio
from collections.abc import Sequence

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from integration.mesh_messaging.letters import get, put, replay, state_is, timer
from mesh_messaging.envelope import InvalidEnvelope, to_headers
from mesh_messaging.inbox import admit
from mesh_messaging.message import InboundMessage
from mesh_runtime.errors import Conflict, InvalidInput, Unavailable
from support.messaging import DID, Place, event, write_effects
from support.waiting import eventually

pytestmark = pytest.mark.postgres

STRUCTURED = [("content-type", b"application/cloudevents+json")]


async def test_a_replay_goes_through_the_same_handlers_once(database: Place) -> None:
    letter_id = await put(database, n=7)
    assert (await replay(database, letter_id)).state == "replaying"
    assert await timer(database).climb() == 1
    assert await database.effects() == [7]
    letter = await get(database, letter_id)
    assert (letter.state, letter.actor) == ("resolved", "ann")
    assert await timer(database).climb() == 0
    with pytest.raises(Conflict):
        await replay(database, letter_id)
    assert await database.effects() == [7]


async def test_a_replay_with_repaired_data_handles_the_repaired_payload(database: Place) -> None:
    letter_id = await put(database, value=b'{"n": "seven"}')

    async def strict(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        if not all(isinstance(message.event.json()["n"], int) for message in messages):
            raise InvalidInput("n is no number")
        await write_effects(tx, messages)

    await replay(database, letter_id)
    await timer(database, strict).climb()
    letter = await get(database, letter_id)
    assert (letter.state, letter.reason, letter.attempts) == ("open", "n is no number", 2), (
        "the same letter, open again"
    )
    await replay(database, letter_id, b'{"n": 7, "key": "k"}')
    await timer(database, strict).climb()
    assert await database.effects() == [7]
    letter = await get(database, letter_id)
    assert (letter.state, letter.note) == ("resolved", "replayed with repaired data")
    assert await database.scalar("SELECT count(*) FROM dead_letter") == 1


async def test_a_replay_that_keeps_failing_climbs_the_ladder_and_opens_the_letter_again(database: Place) -> None:
    letter_id = await put(database)

    async def never(_tx: AsyncConnection, _messages: Sequence[InboundMessage]) -> None:
        raise Unavailable("still not", code="throttled")

    await replay(database, letter_id)
    stop = asyncio.Event()
    climbing = asyncio.create_task(timer(database, never).run(stop))
    await eventually(lambda: state_is(database, letter_id, "open"), what="the letter open again")
    stop.set()
    await climbing
    letter = await get(database, letter_id)
    assert (letter.reason_code, letter.attempts) == ("throttled", 5), "one before, four on the ladder"


async def test_contention_that_never_ends_moves_the_message_on(database: Place) -> None:
    """A deadlock at every attempt is the message's own: others of the ladder are handled, it takes the next rung."""
    bad, good = await put(database, n=1), await put(database, n=2, key="other")

    async def contended(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        if any(message.event.json()["n"] == 1 for message in messages):
            raise Unavailable("deadlock", code="database-contention")
        await write_effects(tx, messages)

    await replay(database, bad)
    await replay(database, good)
    stop = asyncio.Event()
    climbing = asyncio.create_task(timer(database, contended).run(stop))
    await eventually(lambda: state_is(database, good, "resolved"), what="the other message")
    await eventually(lambda: state_is(database, bad, "open"), what="the guilty one given up")
    stop.set()
    await climbing
    assert await database.effects() == [2]


async def test_replays_are_handled_one_by_one(database: Place) -> None:
    """A handler may put bad ones among many aside by itself; a replay must not be lost to sight that way."""
    for n in range(4):
        await replay(database, await put(database, n=n, key=f"k{n % 2}"))
    while await timer(database).climb():
        pass
    assert [len(call) for call in database.calls] == [1, 1, 1, 1]
    assert sorted(await database.effects()) == [0, 1, 2, 3]


async def test_a_broken_envelope_can_be_repaired_as_a_whole(database: Place) -> None:
    raw = orjson.dumps({"specversion": "1.0", "source": "/hr", "type": DID, "data": {"n": 3, "key": "k"}})
    letter_id = await put(database, headers=STRUCTURED, value=raw, reason="attribute id is missing")
    with pytest.raises(InvalidEnvelope, match="id is missing"):
        await replay(database, letter_id)
    with pytest.raises(InvalidEnvelope):
        await replay(database, letter_id, b'{"n": 3}')
    assert (await get(database, letter_id)).state == "open", "a repair that is none changes nothing"
    await replay(database, letter_id, orjson.dumps(orjson.loads(raw) | {"id": "e-3"}))
    await timer(database).climb()
    assert await database.effects() == [3]
    letter = await get(database, letter_id)
    assert (letter.state, letter.event_id, letter.source) == ("resolved", "e-3", "/hr")


async def test_a_binary_record_with_broken_headers_can_be_repaired_by_a_whole_event(database: Place) -> None:
    letter_id = await put(database, headers=[("ce_id", b"\xff")], value=b"{}")
    document = {"specversion": "1.0", "id": "e", "source": "/s", "type": DID, "data": {"n": 4, "key": "k"}}
    await replay(database, letter_id, orjson.dumps(document))
    await timer(database).climb()
    assert await database.effects() == [4]


async def test_an_event_that_was_sent_again_and_handled_is_not_replayed_on_top(database: Place) -> None:
    item = event(1, event_id="e-1")
    letter_id = await put(database, headers=to_headers(item), value=b'{"n": "bad"}')
    async with database.db.transaction() as tx:
        assert await admit(tx, database.consumer, [item])
    with pytest.raises(Conflict) as refused:
        await replay(database, letter_id)
    assert refused.value.code == "already-handled"


async def test_a_replayed_event_that_is_delivered_again_is_a_duplicate(database: Place) -> None:
    item = event(1, event_id="e-1")
    letter_id = await put(database, headers=to_headers(item))
    await replay(database, letter_id)
    async with database.db.transaction() as tx:
        assert await admit(tx, database.consumer, [item]) == set()


async def test_two_operators_cannot_replay_the_same_letter(database: Place) -> None:
    letter_id = await put(database)
    outcomes = await asyncio.gather(*(replay(database, letter_id) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4
    await timer(database).climb()
    assert await database.effects() == [1]


async def test_a_replay_waits_behind_parked_messages_of_its_key(database: Place) -> None:
    first, second = await put(database, n=1), await put(database, n=2)
    await replay(database, second)
    await replay(database, first)
    while await timer(database).climb():
        pass
    assert await database.effects() == [2, 1]


async def test_a_type_without_handler_comes_back_as_a_dead_letter(database: Place) -> None:
    letter_id = await put(database, headers=to_headers(event(1, kind="com.example.x")))
    await replay(database, letter_id)
    await timer(database).climb()
    assert (await get(database, letter_id)).reason_code == "no-handler"
