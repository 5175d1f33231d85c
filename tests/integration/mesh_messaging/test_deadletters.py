"""Dead letters on real PostgreSQL: put, counted, listed, discarded."""

import uuid

import pytest

from integration.mesh_messaging.letters import get, put, replay
from mesh_messaging import deadletters
from mesh_messaging.envelope import to_headers
from mesh_runtime.errors import Conflict, NotFound
from support.messaging import DID, Place, event

pytestmark = pytest.mark.postgres


async def test_a_letter_put_by_an_intake_door_is_listed_with_its_identity_and_announced(database: Place) -> None:
    letter_id = await put(database)
    letter = await get(database, letter_id)
    assert (letter.state, letter.type, letter.source, letter.admitted) == ("open", DID, "/test", False)
    assert (letter.raw.partition, letter.raw.offset, letter.raw.key) == (-1, -1, b"k")
    assert await database.scalar("SELECT topic FROM outbox") == database.dlq


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
