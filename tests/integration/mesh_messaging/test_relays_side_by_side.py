"""Several relays on one outbox: shards are shared fairly, taken over from the dead, and lost by the stalled."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from mesh_messaging import leases
from mesh_messaging.schema import SHARD_COUNT
from mesh_messaging.sending import ClaimedMessage
from support.messaging import Place, event, first_occurrences, outbox_is_empty, running
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def test_three_relays_share_the_shards_and_keep_every_keys_order(place: Place) -> None:
    keys = [f"k{n}" for n in range(40)]
    relays = [place.relay(lease_seconds=1.0, batch_size_max=200) for _ in range(3)]
    async with running(*(relay.run for relay in relays)):
        for base in range(0, 60, 20):
            messages = [(key, event(n, key=key)) for n in range(base, base + 20) for key in keys]
            await place.append(messages)
        await eventually(lambda: shares_are_fair(place, [4, 6, 6]), what="fair shares")
        await place.append([(key, event(60, key=key)) for key in keys])
        await eventually(lambda: outbox_is_empty(place))
    records = await place.records()
    assert {key: ns == list(range(61)) for key, ns in first_occurrences(records).items()} == dict.fromkeys(keys, True)
    assert await place.scalar("SELECT count(*) FROM outbox_lease WHERE relay IS NOT NULL") == 0, "given back at the end"
    assert await place.scalar("SELECT count(*) FROM outbox_relay") == 0


async def test_a_relay_that_dies_without_a_word_loses_its_shards_when_the_lease_ends(place: Place) -> None:
    async with place.db.transaction() as tx:
        share = await leases.keep(tx, "dead", 0.5)
    assert len(share.shards) == SHARD_COUNT
    await place.append([("k", event(1))])
    started = time.monotonic()
    async with running(place.relay(lease_seconds=0.5).run):
        await eventually(lambda: outbox_is_empty(place))
    assert time.monotonic() - started < 5


async def test_a_stalled_relay_that_wakes_up_sends_only_duplicates(place: Place) -> None:
    """The stalled one has claimed messages before it slept; meanwhile another relay took its shards and finished."""
    await place.append([(f"k{n % 4}", event(n, key=f"k{n % 4}")) for n in range(40)])
    stalled = place.relay(lease_seconds=0.4)
    asleep, awake = asyncio.Event(), asyncio.Event()
    send = stalled._sender.send

    async def send_late(messages: Sequence[ClaimedMessage]) -> Any:
        asleep.set()
        await awake.wait()
        return await send(messages)

    stalled._sender.send = send_late  # type: ignore[method-assign]
    late = asyncio.create_task(stalled.relay_once())
    await asleep.wait()
    async with running(place.relay(lease_seconds=0.4).run):
        await eventually(lambda: outbox_is_empty(place), what="the other relay")
        await place.append([(f"k{n % 4}", event(n, key=f"k{n % 4}")) for n in range(40, 80)])
        await eventually(lambda: outbox_is_empty(place), what="the other relay, later messages")
        awake.set()
        await late
    await stalled._leave()
    records = await place.records()
    assert len(records) == 120, "forty came twice"
    assert first_occurrences(records) == {f"k{k}": list(range(k, 80, 4)) for k in range(4)}
    assert await stalled.relay_once() == 0, "nothing is its own any more"
    await stalled._leave()


async def shares_are_fair(place: Place, expected: list[int]) -> bool:
    rows = await place.rows("SELECT count(*) AS held FROM outbox_lease WHERE expires_at > now() GROUP BY relay")
    return sorted(row.held for row in rows) == expected
