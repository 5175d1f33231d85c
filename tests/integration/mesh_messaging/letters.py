"""What the tests of dead letters do to them: put one as an intake door does, look at it, replay it, climb."""

import uuid
from datetime import timedelta
from typing import Any

from mesh_messaging import deadletters
from mesh_messaging.deadletters_rows import NewDeadLetter, put_many
from mesh_messaging.envelope import to_headers
from mesh_messaging.failures import Failure
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.ladder_timer import LadderTimer
from mesh_messaging.message import Handler
from mesh_messaging.records import RawRecord
from mesh_runtime.clock import SystemClock
from support.messaging import DID, FAST_LADDER, Place, event


def timer(place: Place, handler: Handler | None = None, retry: RetryLadder = FAST_LADDER) -> LadderTimer:
    return LadderTimer(
        place.db,
        name=place.consumer,
        handlers={DID: handler or place.handle},
        retry=retry,
        clock=SystemClock(),
        inbox_keep=timedelta(days=1),
    )


async def put(
    place: Place,
    *,
    n: int = 1,
    key: str = "k",
    value: bytes | None = None,
    headers: Any = None,
    reason: str = "surname is missing",
) -> uuid.UUID:
    item = event(n)
    raw = RawRecord(
        place.topic,
        -1,
        -1,
        key.encode(),
        tuple(to_headers(item) if headers is None else headers),
        item.data if value is None else value,
    )
    letter = NewDeadLetter(raw, Failure("permanent", "invalid-input", reason, "invalid-input"), 1, admitted=False)
    async with place.db.transaction() as tx:
        return (await put_many(tx, place.consumer, [letter]))[0]


async def replay(place: Place, letter_id: uuid.UUID, data: bytes | None = None) -> deadletters.DeadLetter:
    async with place.db.transaction() as tx:
        return await deadletters.replay(tx, letter_id, actor="ann", data=data)


async def get(place: Place, letter_id: uuid.UUID) -> deadletters.DeadLetter:
    async with place.db.read() as tx:
        return await deadletters.get(tx, letter_id)


async def state_is(place: Place, letter_id: uuid.UUID, state: str) -> bool:
    return (await get(place, letter_id)).state == state
