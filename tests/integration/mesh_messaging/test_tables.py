"""Inbox, outbox, ladder and lease rows on real PostgreSQL, one statement at a time."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from mesh_messaging import inbox, leases, parked
from mesh_messaging.failures import Failure
from mesh_messaging.inbox import admit, prune
from mesh_messaging.outbox import KEY_BYTES_MAX, OutboundMessage, append
from mesh_messaging.parked import NewParked
from mesh_messaging.records import RawRecord
from mesh_messaging.testing import drain_outbox
from mesh_runtime.errors import InvalidInput, TooLarge
from support.messaging import Place, event
from support.waiting import eventually

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = Failure("retryable", "throttled", "not now", "f")


def raw(key: bytes | None, n: int = 0) -> RawRecord:
    return RawRecord("t", 0, n, key, (("ce_id", str(n).encode()),), b"{}")


async def test_the_inbox_admits_an_event_once_per_consumer(database: Place) -> None:
    events = [event(n, event_id=f"e{n}") for n in range(5)]
    async with database.db.transaction() as tx:
        assert await admit(tx, "a", events[:3]) == {("/test", "e0"), ("/test", "e1"), ("/test", "e2")}
    async with database.db.transaction() as tx:
        assert await admit(tx, "a", events) == {("/test", "e3"), ("/test", "e4")}
        assert len(await admit(tx, "b", events)) == 5
        assert await admit(tx, "a", []) == set()


async def test_the_inbox_tells_sources_apart(database: Place) -> None:
    async with database.db.transaction() as tx:
        assert len(await inbox.admit_identities(tx, "a", [("/x", "1"), ("/y", "1"), ("/x", "1")])) == 2


async def test_the_inbox_waits_for_another_transaction_and_believes_its_outcome(database: Place) -> None:
    item = [event(1)]

    async def second() -> set[tuple[str, str]]:
        async with database.db.transaction() as tx:
            return await admit(tx, "a", item)

    async with database.db.engine.connect() as connection:
        await admit(connection, "a", item)
        waiting = asyncio.create_task(second())
        await eventually(lambda: waits(database))
        await connection.rollback()
    assert len(await waiting) == 1, "the first rolled back, so it is new"


async def test_two_members_with_the_same_events_in_different_orders_do_not_deadlock(database: Place) -> None:
    events = [event(n) for n in range(400)]

    async def take(order: int) -> int:
        async with database.db.transaction() as tx:
            return len(await admit(tx, "a", events[::order]))

    assert sum(await asyncio.gather(*(take(order) for order in (1, -1, 1, -1)))) == 400


async def test_the_inbox_forgets_what_is_old(database: Place) -> None:
    async with database.db.transaction() as tx:
        await admit(tx, "a", [event(n) for n in range(10)])
        await tx.execute(
            text("UPDATE inbox SET received_at = now() - interval '40 days' WHERE id < (SELECT max(id) FROM inbox)")
        )
    async with database.db.transaction() as tx:
        assert await prune(tx, "a", datetime.now(UTC) - timedelta(days=30), row_count_max=4) == 4
        assert await prune(tx, "a", datetime.now(UTC) - timedelta(days=30)) == 5
        assert await prune(tx, "b", datetime.now(UTC)) == 0


async def test_the_outbox_returns_what_was_appended_in_order(database: Place) -> None:
    messages = [OutboundMessage("ucmesh.x.v1", f"k{n}", event(n)) for n in range(2_000)]
    async with database.db.transaction() as tx:
        await append(tx, messages)
        await append(tx, [])
    async with database.db.transaction() as tx:
        assert list(await drain_outbox(tx)) == messages
        assert list(await drain_outbox(tx)) == []


@pytest.mark.parametrize("key", ["", "x" * (KEY_BYTES_MAX + 1)])
async def test_a_key_off_the_limits_is_refused(database: Place, key: str) -> None:
    async with database.db.transaction() as tx:
        with pytest.raises(InvalidInput):
            await append(tx, [OutboundMessage("ucmesh.x.v1", key, event(1))])


async def test_a_payload_the_broker_would_refuse_is_refused_here(database: Place) -> None:
    async with database.db.transaction() as tx:
        with pytest.raises(TooLarge):
            await append(tx, [OutboundMessage("ucmesh.x.v1", "k", event(1, filler="x" * 900_000))])


async def test_only_the_oldest_of_a_key_is_due(database: Place) -> None:
    rows = [(b"a", 1), (b"a", 2), (None, 3), (None, 4), (b"b", 5)]
    async with database.db.transaction() as tx:
        await parked.park(tx, "c", [NewParked(raw(key, n), 1, NOW, FAILURE) for key, n in rows], NOW)
        await parked.park(tx, "other", [NewParked(raw(b"a", 9), 1, NOW)], NOW)
        due = await parked.lease_due(tx, "c", NOW, head_count=10, follower_count=0)
        assert [message.raw.offset for message in due] == [1, 3, 4, 5]
        due = await parked.lease_due(tx, "c", NOW, head_count=10, follower_count=5)
        assert [(message.raw.offset, message.head_id == message.id) for message in due] == [
            (1, True),
            (2, False),
            (3, True),
            (4, True),
            (5, True),
        ]
        assert await parked.lease_due(tx, "c", NOW - timedelta(seconds=1), head_count=10, follower_count=5) == []


async def test_a_head_on_its_next_rung_takes_its_followers_along(database: Place) -> None:
    later = NOW + timedelta(seconds=30)
    async with database.db.transaction() as tx:
        await parked.park(tx, "c", [NewParked(raw(b"a", n), 0, NOW) for n in range(3)], NOW)
        (head, *_) = await parked.lease_due(tx, "c", NOW, head_count=10, follower_count=9)
        await parked.postpone(tx, "c", head, FAILURE, later)
        assert await parked.lease_due(tx, "c", NOW, head_count=10, follower_count=9) == []
        assert await parked.waiting_keys(tx, "c", {("t", b"a"), ("t", b"z")}) == {("t", b"a"): later}
        assert await parked.next_due(tx, "c") == (later, 3)
        due = await parked.lease_due(tx, "c", later, head_count=10, follower_count=9)
        assert [message.attempts for message in due] == [1, 0, 0]


async def test_a_keyless_message_never_blocks_another(database: Place) -> None:
    async with database.db.transaction() as tx:
        await parked.park(
            tx, "c", [NewParked(raw(None, 1), 1, NOW + timedelta(days=1)), NewParked(raw(None, 2), 1, NOW)], NOW
        )
        due = await parked.lease_due(tx, "c", NOW, head_count=10, follower_count=9)
        assert [message.raw.offset for message in due] == [2]


async def test_a_key_held_by_another_process_is_left_alone(database: Place) -> None:
    async with database.db.transaction() as tx:
        await parked.park(tx, "c", [NewParked(raw(key, n), 1, NOW) for n, key in enumerate((b"a", b"a", b"b"))], NOW)
    async with database.db.transaction() as one, database.db.transaction() as two:
        (first,) = await parked.lease_due(one, "c", NOW, head_count=1, follower_count=0)
        others = await parked.lease_due(two, "c", NOW, head_count=10, follower_count=9)
        assert [message.raw.key for message in others] == [b"b"]
        assert await parked.lease_heads(two, "c", [first.id], follower_count=0) == []


async def test_shards_are_shared_fairly_and_given_back(database: Place) -> None:
    async def keep(relay: str, seconds: float = 5) -> int:
        async with database.db.transaction() as tx:
            return len((await leases.keep(tx, relay, seconds)).shards)

    assert await keep("a") == 16
    assert await keep("b") == 0, "none is free yet, but a sees that b lives"
    assert [await keep("a"), await keep("b")] == [8, 8]
    assert [await keep("c"), await keep("a"), await keep("b"), await keep("c")] == [0, 6, 6, 4]
    async with database.db.transaction() as tx:
        await leases.leave(tx, "a")
    assert [await keep("b"), await keep("c")] == [8, 8]


async def test_a_relay_that_stalls_while_sharing_out_holds_up_nobody(database: Place) -> None:
    async with database.db.transaction() as tx:
        await leases.keep(tx, "a", 0.3)
    async with database.db.engine.connect() as stalled:
        await leases.keep(stalled, "b", 0.3)
        async with database.db.transaction() as tx:
            share = await leases.keep(tx, "c", 5)
        assert share.relay_count == 0, "told to ask again"

        async def taken() -> bool:
            async with database.db.transaction() as tx:
                return len((await leases.keep(tx, "c", 5)).shards) == 16

        await eventually(taken, what="the stalled one thrown out, its lease taken")
        await stalled.invalidate()


async def test_more_relays_than_shards_is_no_error(database: Place) -> None:
    for _ in range(2):
        for n in range(20):
            async with database.db.transaction() as tx:
                await leases.keep(tx, f"r{n}", 5)
    held = await database.rows("SELECT relay, count(*) AS held FROM outbox_lease GROUP BY relay")
    assert {row.held for row in held} == {1}


async def test_an_expired_lease_is_taken_and_cannot_be_renewed(database: Place) -> None:
    async with database.db.transaction() as tx:
        await leases.keep(tx, "slow", 0.05)
    await eventually(lambda: expired(database))
    async with database.db.transaction() as tx:
        assert len((await leases.keep(tx, "quick", 5)).shards) == 16
    async with database.db.transaction() as tx:
        assert (await leases.keep(tx, "slow", 5)).shards == ()


async def waits(place: Place) -> bool:
    return bool(
        await place.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


async def expired(place: Place) -> bool:
    return bool(await place.scalar("SELECT bool_and(expires_at < now()) FROM outbox_lease"))
