"""Dead letters on real PostgreSQL: put, list, replay (as it was, repaired, reopened), discard; over HTTP as well."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import deadletters
from mesh_messaging.deadletters_http import router
from mesh_messaging.envelope import InvalidEnvelope, to_headers
from mesh_messaging.inbox import admit
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.ladder_timer import LadderTimer
from mesh_messaging.message import Handler, InboundMessage
from mesh_runtime.clock import SystemClock
from mesh_runtime.errors import Conflict, InvalidInput, NotFound, Unavailable
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.testing import StaticVerifier
from support.messaging import DID, FAST_LADDER, Place, event, write_effects
from support.waiting import eventually

pytestmark = pytest.mark.postgres

STRUCTURED = [("content-type", b"application/cloudevents+json")]


def timer(place: Place, handler: Handler | None = None, retry: RetryLadder = FAST_LADDER) -> LadderTimer:
    return LadderTimer(
        place.db,
        name=place.consumer,
        handlers={DID: handler or place.handle},
        retry=retry,
        clock=SystemClock(),
        inbox_keep=timedelta(days=1),
    )


async def put(place: Place, *, value: bytes | None = None, headers: Any = None, **changes: Any) -> uuid.UUID:
    item = event(changes.pop("n", 1))
    fields: dict[str, Any] = {
        "consumer": place.consumer,
        "topic": place.topic,
        "key": "k",
        "headers": to_headers(item) if headers is None else headers,
        "value": item.data if value is None else value,
        "reason_code": "invalid-input",
        "reason": "surname is missing",
        "attempts": 1,
    } | changes
    async with place.db.transaction() as tx:
        return await deadletters.put(tx, **fields)


async def replay(place: Place, letter_id: uuid.UUID, data: bytes | None = None) -> deadletters.DeadLetter:
    async with place.db.transaction() as tx:
        return await deadletters.replay(tx, letter_id, actor="ann", data=data)


async def get(place: Place, letter_id: uuid.UUID) -> deadletters.DeadLetter:
    async with place.db.read() as tx:
        return await deadletters.get(tx, letter_id)


async def test_a_letter_put_by_an_intake_door_is_listed_with_its_identity_and_announced(database: Place) -> None:
    letter_id = await put(database)
    letter = await get(database, letter_id)
    assert (letter.state, letter.type, letter.source, letter.admitted) == ("open", DID, "/test", False)
    assert (letter.raw.partition, letter.raw.offset, letter.raw.key) == (-1, -1, b"k")
    assert await database.scalar("SELECT topic FROM outbox") == database.dlq


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


async def test_the_same_broken_message_again_is_counted_not_repeated(database: Place) -> None:
    item = event(1, event_id="e-1")
    ids = {await put(database, headers=to_headers(item)) for _ in range(3)}
    assert len(ids) == 1
    assert (await get(database, ids.pop())).occurrences == 3
    assert await database.scalar("SELECT count(*) FROM outbox") == 1, "announced once"


async def test_a_discarded_letter_is_closed_and_keeps_its_bytes(database: Place) -> None:
    letter_id = await put(database)
    async with database.db.transaction() as tx:
        await deadletters.discard(tx, letter_id, actor="ann", reason="left before joining")
    letter = await get(database, letter_id)
    assert (letter.state, letter.actor, letter.note) == ("discarded", "ann", "left before joining")
    assert letter.raw.value
    with pytest.raises(Conflict):
        await replay(database, letter_id)


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


async def test_a_value_too_large_to_announce_stays_in_the_table(database: Place) -> None:
    letter_id = await put(database, value=b'"' + b"x" * 950_000 + b'"')
    assert len((await get(database, letter_id)).raw.value or b"") == 950_002
    assert await database.scalar("SELECT length(value) FROM outbox") is None


async def test_pages_follow_each_other_newest_first(database: Place) -> None:
    ids = [await put(database, n=n) for n in range(7)]
    seen: list[uuid.UUID] = []
    after = None
    async with database.db.read() as tx:
        while page := await deadletters.list_page(tx, after, 3, {"state": "open", "consumer": database.consumer}):
            seen += [letter.id for letter in page]
            after = page[-1].id
        assert seen == ids[::-1]
        for name in ("topic", "type", "tenant", "code", "state"):
            assert await deadletters.list_page(tx, None, 3, {name: "other"}) == []
        with pytest.raises(NotFound):
            await deadletters.get(tx, uuid.uuid4())


@pytest.fixture
def client(database: Place) -> httpx.AsyncClient:
    app = create_app(
        title="t",
        version="1",
        description="t",
        verifier=StaticVerifier({"reader": frozenset({"mesh.read"}), "admin": frozenset({"mesh.read", "mesh.admin"})}),
        health=Health({}),
        routers=[router(database.db)],
    )
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers={"authorization": "Bearer admin"}
    )


async def test_http_lists_shows_replays_and_discards(database: Place, client: httpx.AsyncClient) -> None:
    first = await put(database, n=1, value=b'{"n": 1, "key": "k", "name": "Zo\xc3\xab"}')
    broken = await put(database, headers=[("x", b"\xff")], value=b"\xff\x00")
    page = (await client.get("/dead-letters", params={"limit": 1})).json()
    assert [item["id"] for item in page["items"]] == [str(broken)]
    assert "data" not in page["items"][0]
    assert "headers" not in page["items"][0]
    page = (await client.get("/dead-letters", params={"limit": 1, "after": page["next"]})).json()
    assert ([item["id"] for item in page["items"]], page["next"]) == ([str(first)], None)
    shown = (await client.get(f"/dead-letters/{first}")).json()
    assert shown["data"]["name"] == "Zoë"
    assert ["ce_type", DID] in shown["headers"]
    assert (await client.get(f"/dead-letters/{broken}")).json()["data_base64"] == "/wA="

    answer = await client.post(f"/dead-letters/{first}/replay", json={"data": {"n": 9, "key": "k"}})
    assert (answer.status_code, answer.json()["state"], answer.json()["actor"]) == (202, "replaying", "admin")
    await timer(database).climb()
    assert await database.effects() == [9]
    answer = await client.post(f"/dead-letters/{broken}/discard", json={"reason": "noise"})
    assert (answer.status_code, answer.json()["state"]) == (200, "discarded")


async def test_http_replays_without_a_body(database: Place, client: httpx.AsyncClient) -> None:
    letter_id = await put(database)
    assert (await client.post(f"/dead-letters/{letter_id}/replay")).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/dead-letters/not-a-uuid", None, 422),
        ("GET", f"/dead-letters/{uuid.UUID(int=1)}", None, 404),
        ("GET", "/dead-letters?limit=0", None, 422),
        ("GET", "/dead-letters?limit=501", None, 422),
        ("GET", "/dead-letters?after=garbage", None, 422),
        ("GET", "/dead-letters?state=lost", None, 422),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/replay", {}, 404),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/replay", {"dat": 1}, 422),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/discard", {}, 422),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/discard", {"reason": ""}, 422),
    ],
)
async def test_http_refuses_bad_input(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_http_a_repair_that_is_none_is_refused_with_the_reason(
    database: Place, client: httpx.AsyncClient
) -> None:
    letter_id = await put(database, headers=[], value=b"{}")
    answer = await client.post(f"/dead-letters/{letter_id}/replay", json={"data": {"x": 1}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-envelope")


async def test_http_readers_may_not_replay_and_strangers_see_nothing(client: httpx.AsyncClient) -> None:
    reader, path = {"authorization": "Bearer reader"}, f"/dead-letters/{uuid.uuid4()}/replay"
    assert (await client.get("/dead-letters", headers=reader)).status_code == 200
    assert (await client.post(path, headers=reader, json={})).status_code == 403
    assert (await client.get("/dead-letters", headers={"authorization": "Bearer x"})).status_code == 401


async def state_is(place: Place, letter_id: uuid.UUID, state: str) -> bool:
    return (await get(place, letter_id)).state == state
