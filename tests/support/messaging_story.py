"""One story with every kind of message in it, told by a process that may be killed at any line and started again.

A use case puts forty messages in the outbox; the relay sends them; the consumer handles them. Among them: one that
fails twice and then works (7), one that cannot be handled until an operator repairs it (11), one that is hopeless (23),
and a record that is no event. The end is the same however often the process dies.

    python -m support.messaging_story URL BOOTSTRAP TOPIC CONSUMER INSTANCE
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import deadletters
from mesh_messaging.envelope import CloudEvent
from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.message import InboundMessage
from mesh_messaging.outbox import OutboundMessage, append
from mesh_runtime import logs
from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError, Refused, Unavailable
from mesh_runtime.roles import Role, run_roles
from support.messaging import DID, Place, event, write_effects
from support.waiting import eventually

COUNT = 40
KEYS = 5
FLAKY, REPAIRABLE, HOPELESS = 7, 11, 23
LEASE_SECONDS = 0.6


async def prepare(place: Place) -> None:
    """What is there before the story begins."""
    async with place.db.transaction() as tx:
        await tx.execute(text("CREATE TABLE todo (id integer PRIMARY KEY, done boolean NOT NULL)"))
        await tx.execute(text("INSERT INTO todo VALUES (1, false)"))
    await place.produce_raw([("broken", [("ce_id", b"x")], b"no event")])


def messages() -> list[tuple[str, CloudEvent]]:
    keys = [f"k{n % KEYS}" for n in range(COUNT)]
    return [(key, event(n, key=key, event_id=f"story-{n}")) for n, key in enumerate(keys)]


def roles(place: Place) -> list[Callable[[asyncio.Event], Awaitable[None]]]:
    """The process, as roles."""
    story = _Story(place)
    relay = place.relay(lease_seconds=LEASE_SECONDS)
    consumer = place.consumer_of({DID: story.handle}, batch_size_max=10)
    return [story.use_case, story.operator, relay.run, consumer.run]


class _Story:
    def __init__(self, place: Place) -> None:
        self._place = place

    async def use_case(self, stop: asyncio.Event) -> None:
        """Not done yet? Do it and say so, in one transaction; a failure is repeated as a caller would."""
        await _repeat(stop, self._do)
        await stop.wait()

    async def _do(self) -> None:
        async with self._place.db.transaction() as tx:
            todo = await tx.execute(text("UPDATE todo SET done = true WHERE NOT done RETURNING id"))
            if todo.all():
                out = [OutboundMessage(self._place.topic, key, item) for key, item in messages()]
                await append(tx, out[: COUNT // 2])
                await append(tx, out[COUNT // 2 :])

    async def operator(self, stop: asyncio.Event) -> None:
        """Repairs what can be repaired as soon as it is a dead letter."""
        while not stop.is_set():
            await _repeat(stop, self._repair)
            try:
                await asyncio.wait_for(stop.wait(), 0.05)
            except TimeoutError:
                continue

    async def _repair(self) -> None:
        async with self._place.db.transaction() as tx:
            letters = await deadletters.list_page(tx, None, 10, {"code": "needs-repair", "state": "open"})
            for letter in letters:
                document = orjson.loads(letter.raw.value or b"{}") | {"repaired": True}
                await deadletters.replay(tx, letter.id, actor="operator", data=orjson.dumps(document))

    async def handle(self, tx: AsyncConnection, batch: Sequence[InboundMessage]) -> None:
        await write_effects(tx, batch)
        for message in batch:
            document = message.event.json()
            if document["n"] == FLAKY and message.attempt < 3:
                raise Unavailable("not now", code="throttled")
            if document["n"] == REPAIRABLE and "repaired" not in document:
                raise Refused("cannot be handled as it is", code="needs-repair")
            if document["n"] == HOPELESS:
                raise Refused("never", code="hopeless")


async def _repeat(stop: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    while not stop.is_set():
        try:
            await act()
        except MeshError:
            await asyncio.sleep(0.02)
        else:
            return


async def is_finished(place: Place) -> bool:
    """Whether everything has come to its end."""
    try:
        (row,) = await place.rows("""
            SELECT (SELECT count(*) FROM effect) AS effects, (SELECT count(*) FROM outbox) AS waiting,
                   (SELECT count(*) FROM parked_message) AS parked,
                   (SELECT count(*) FROM dead_letter WHERE state IN ('open', 'resolved')) AS letters,
                   (SELECT count(*) FROM dead_letter WHERE state = 'replaying') AS replaying
        """)
    except MeshError:
        return False
    return tuple(row) == (COUNT - 1, 0, 0, 3, 0)


async def assert_the_end(place: Place) -> None:
    """The end state of the undisturbed run."""
    await eventually(lambda: is_finished(place), seconds=5, what="the end, still there")
    by_key = await place.effects_by_key()
    expected = {f"k{k}": list(range(k, COUNT, KEYS)) for k in range(KEYS)}
    expected["k3"].remove(HOPELESS)
    repaired = by_key[f"k{REPAIRABLE % KEYS}"]
    assert repaired.count(REPAIRABLE) == 1
    # What waits for a person cannot keep its place in the order.
    repaired.remove(REPAIRABLE)
    expected[f"k{REPAIRABLE % KEYS}"].remove(REPAIRABLE)
    assert by_key == expected
    letters = await place.rows("SELECT reason_code, state, occurrences FROM dead_letter ORDER BY reason_code")
    assert [tuple(row) for row in letters] == [
        ("hopeless", "open", 1),
        ("invalid-envelope", "open", 1),
        ("needs-repair", "resolved", 1),
    ]
    assert await place.scalar("SELECT count(*) FROM inbox") == COUNT + 1
    announced = {dict(record.headers)["mesh_dead_letter_id"].decode() for record in await place.records(place.dlq)}
    assert announced == {str(row.id) for row in await place.rows("SELECT id FROM dead_letter")}
    sent: dict[str, list[int]] = {}
    for record in await place.records():
        if record.key != b"broken":
            ns = sent.setdefault(record.key.decode(), [])
            n = orjson.loads(record.value)["n"]
            if n not in ns:
                ns.append(n)
    assert sent == {f"k{k}": list(range(k, COUNT, KEYS)) for k in range(KEYS)}, "first deliveries are in order"


async def main(arguments: Sequence[str]) -> None:
    url, bootstrap, topic, consumer, instance = arguments
    logs.configure("story", "INFO")
    kafka = KafkaSettings(bootstrap, client_id="story", session_timeout_ms=6_000, instance=instance or None)
    place = Place(Database(url), url, kafka, topic, consumer)
    names = ("use-case", "operator", "relay", "consumer")
    parts: list[Any] = [Role(name, run) for name, run in zip(names, roles(place), strict=True)]
    await run_roles(parts)
    await place.db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
