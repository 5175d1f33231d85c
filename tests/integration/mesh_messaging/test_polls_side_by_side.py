"""A full poll and what lies ready in other partitions are settled side by side, in transactions of their own."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.message import InboundMessage
from mesh_runtime.errors import Refused
from support.messaging import DID, Place, event, running, write_effects
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def test_what_a_full_poll_leaves_behind_is_settled_beside_it_in_the_order_of_each_key(place: Place) -> None:
    sizes: list[int] = []
    open_now: set[int] = set()
    both_open = asyncio.Event()

    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        sizes.append(len(messages))
        open_now.add(messages[0].offset * 10 + messages[0].partition)
        if len(open_now) == 2:
            both_open.set()
        # Nobody goes on before two transactions are open at the same time.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(both_open.wait(), 30)
        open_now.clear()
        await write_effects(tx, messages)

    count = 400
    await place.produce([(f"k{n % 40}", event(n, key=f"k{n % 40}")) for n in range(count)])
    async with running(place.consumer_of({DID: handle}, batch_size_max=20).run):
        await eventually(place.committed_everything, what="all offsets")
    assert both_open.is_set()
    assert max(sizes) == 20
    assert await place.effects_by_key() == {f"k{k}": list(range(k, count, 40)) for k in range(40)}


async def test_of_two_that_run_beside_each_other_a_failure_costs_the_other_nothing(place: Place) -> None:
    async def handle(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await write_effects(tx, messages)
        if any(message.event.json()["n"] % 50 == 7 for message in messages):
            raise Refused("no such thing", code="no-thing")

    await place.produce([(f"k{n % 40}", event(n, key=f"k{n % 40}")) for n in range(400)])
    async with running(place.consumer_of({DID: handle}, batch_size_max=20).run):
        await eventually(place.committed_everything, what="all offsets")
    assert Counter(await place.effects()) == Counter(n for n in range(400) if n % 50 != 7)
    assert all(ns == sorted(ns) for ns in (await place.effects_by_key()).values())
    assert await place.scalar("SELECT count(*) FROM dead_letter") == 8
