"""Database on a real PostgreSQL: transaction edges, what transient means, and coming back after losing the server."""

import asyncio
import contextlib
import uuid

import pytest
from sqlalchemy import exc, text

from mesh_runtime import db as db_module
from mesh_runtime import faults, telemetry
from mesh_runtime.db import AFTER_COMMIT, BEFORE_COMMIT, Database, at_end
from mesh_runtime.errors import Refused, Unavailable
from support.databases import kill_backends
from support.tripwire import Point
from support.waiting import eventually

pytestmark = pytest.mark.postgres


async def add(db: Database, key: int) -> None:
    async with db.transaction() as tx:
        await tx.execute(text("INSERT INTO thing VALUES (:id)"), {"id": key})


async def ids(db: Database) -> list[int]:
    async with db.read() as tx:
        return list((await tx.execute(text("SELECT id FROM thing ORDER BY id"))).scalars())


async def test_a_block_commits_at_its_end(db):
    await add(db, 1)
    assert await ids(db) == [1]


async def test_an_error_rolls_back_and_passes_through(db):
    async def refused() -> None:
        async with db.transaction() as tx:
            await tx.execute(text("INSERT INTO thing VALUES (1)"))
            raise Refused("no")

    with pytest.raises(Refused):
        await refused()
    with pytest.raises(exc.IntegrityError):
        async with db.transaction() as tx:
            await tx.execute(text("INSERT INTO thing VALUES (1), (1)"))
    assert await ids(db) == []


async def test_the_end_of_a_transaction_is_told_once_and_as_it_was(db):
    told: list[tuple[str, bool]] = []

    async def run(name: str, point: str | None) -> None:
        with faults.inject(point, 1, "error") if point else contextlib.nullcontext():
            async with db.transaction() as tx:
                at_end(tx, lambda durable: told.append((name, durable)))
                await tx.execute(text("SELECT 1"))
                assert told == told_before

    for name, point in (("whole", None), ("failed", BEFORE_COMMIT), ("died after", AFTER_COMMIT)):
        told_before = list(told)
        with contextlib.suppress(faults.FaultInjected):
            await run(name, point)
    assert told == [("whole", True), ("failed", False), ("died after", True)]


async def test_cancelling_rolls_back_and_gives_the_connection_back(db):
    entered = asyncio.Event()

    async def long() -> None:
        async with db.transaction() as tx:
            await tx.execute(text("INSERT INTO thing VALUES (1)"))
            entered.set()
            await tx.execute(text("SELECT pg_sleep(60)"))

    for _ in range(4):
        entered.clear()
        task = asyncio.create_task(long())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await ids(db) == []


async def test_failing_at_each_fault_point_keeps_or_loses_the_whole_transaction(db):
    with faults.inject(BEFORE_COMMIT, 1), pytest.raises(faults.FaultInjected):
        await add(db, 1)
    assert await ids(db) == []
    with faults.inject(AFTER_COMMIT, 1), pytest.raises(faults.FaultInjected):
        await add(db, 2)
    assert await ids(db) == [2]
    assert faults.observed() == [BEFORE_COMMIT, AFTER_COMMIT]


async def test_a_read_block_cannot_write_and_does_not_change_later_blocks(db):
    with pytest.raises(exc.DBAPIError, match="read-only"):
        async with db.read() as tx:
            await tx.execute(text("INSERT INTO thing VALUES (1)"))
    for key in range(6):
        await add(db, key)
        await ids(db)
    assert len(await ids(db)) == 6


async def test_arrays_uuids_and_json_go_through(db):
    keys = [uuid.uuid4() for _ in range(3)]
    async with db.read() as tx:
        rows = await tx.execute(text("SELECT * FROM unnest(CAST(:keys AS uuid[]))"), {"keys": keys})
        assert list(rows.scalars()) == keys
        assert (await tx.execute(text("SELECT '{\"a\": 1}'::jsonb"))).scalar_one() == {"a": 1}


async def test_losing_all_connections_costs_at_most_one_unavailable(db, postgres_url):
    await asyncio.gather(*(db.ping() for _ in range(3)))
    assert await kill_backends(postgres_url, "test-db") >= 1
    with pytest.raises(Unavailable) as caught:
        await db.ping()
    assert caught.value.retryable
    await asyncio.gather(*(db.ping() for _ in range(3)))


async def test_connections_that_died_while_idle_are_replaced_unnoticed(db, postgres_url, monkeypatch):
    monkeypatch.setattr(db_module, "IDLE_BEFORE_PING_SECONDS", 0.0)
    await asyncio.gather(*(db.ping() for _ in range(3)))
    await kill_backends(postgres_url, "test-db")
    for _ in range(3):
        await db.ping()


async def test_a_connection_lost_inside_the_block_is_unavailable_and_rolled_back(db, postgres_url):
    async def lose() -> None:
        async with db.transaction() as tx:
            await tx.execute(text("INSERT INTO thing VALUES (1)"))
            await kill_backends(postgres_url, "test-db")
            await tx.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await lose()
    assert await ids(db) == []


async def test_a_connection_lost_before_commit_is_unavailable(db, postgres_url):
    async def lose() -> None:
        async with db.transaction() as tx:
            await tx.execute(text("INSERT INTO thing VALUES (1)"))
            await kill_backends(postgres_url, "test-db")

    with pytest.raises(Unavailable):
        await lose()
    assert await ids(db) == []


async def test_a_deadlock_is_asked_to_be_retried(db):
    await add(db, 1)
    await add(db, 2)
    both = asyncio.Barrier(2)

    async def touch(first: int, second: int) -> None:
        async with db.transaction() as tx:
            await tx.execute(text("SELECT id FROM thing WHERE id = :id FOR UPDATE"), {"id": first})
            await both.wait()
            await tx.execute(text("SELECT id FROM thing WHERE id = :id FOR UPDATE"), {"id": second})

    outcomes = await asyncio.gather(touch(1, 2), touch(2, 1), return_exceptions=True)
    (failure,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(failure, Unavailable)
    assert (failure.code, failure.detail) == ("database-contention", {"sqlstate": "40P01"})


@pytest.mark.parametrize("statement", ["BEGIN;", "COMMIT;"])
async def test_a_connection_whose_transactions_were_refused_is_replaced(tripped, statement):
    trip, url, role = tripped
    db = Database(url, pool_size_max=1)

    async def once() -> None:
        async with db.transaction() as tx:
            await tx.execute(text("SELECT 1"))

    await once()
    trip.arm(Point(role, statement, 1, "refused"))
    with pytest.raises(Unavailable):
        await once()
    assert trip.tripped
    trip.arm(None)
    with contextlib.suppress(Unavailable):  # the driver may find out only now
        await once()
    await once()
    await db.close()


async def test_a_statement_that_takes_too_long_is_stopped(postgres_url):
    db = Database(postgres_url, statement_timeout_seconds=1)
    with pytest.raises(Unavailable) as caught:
        async with db.read() as tx:
            await tx.execute(text("SELECT pg_sleep(60)"))
    assert caught.value.code == "database-contention"
    await db.close()


async def test_a_transaction_nobody_carries_on_gives_its_locks_back(postgres_url, db):
    abandoned = Database(postgres_url, transaction_timeout_seconds=1)
    lock = text("SELECT pg_advisory_xact_lock(4711)")

    async def hold_and_stay_away() -> None:
        async with abandoned.transaction() as tx:
            await tx.execute(lock)
            async with db.transaction() as other:
                await other.execute(lock)
            await tx.execute(text("SELECT 1"))

    with pytest.raises(Unavailable) as caught:
        await hold_and_stay_away()
    assert caught.value.code == "database-unavailable"
    await abandoned.ping()
    await abandoned.close()


async def test_a_full_pool_is_busy_in_bounded_time(postgres_url, monkeypatch):
    monkeypatch.setattr(db_module, "POOL_TIMEOUT_SECONDS", 0.1)
    db = Database(postgres_url, pool_size_max=1)
    async with db.read():
        with pytest.raises(Unavailable) as caught:
            await db.ping()
    assert caught.value.code == "database-busy"
    await db.ping()
    await db.close()


async def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port):
    db = Database(f"postgresql://app:x@127.0.0.1:{unused_tcp_port}/x")
    with pytest.raises(Unavailable):
        await db.ping()
    await db.close()


async def test_transactions_are_spans_of_the_trace_around_them(db):
    with telemetry.recording() as spans:
        with telemetry.span("work"):
            await add(db, 1)
            await ids(db)
        await ids(db)
    assert [span.name for span in spans.spans] == ["db.transaction", "db.read", "work"]


async def test_the_pool_lives_through_a_restart_of_the_server(db, postgres_server):
    await db.ping()
    await postgres_server.restart()

    async def works() -> bool:
        try:
            await add(db, 7)
        except Unavailable:
            return False
        return True

    await eventually(works, seconds=20)
    assert await ids(db) == [7]


async def test_a_server_that_fell_silent_is_unavailable_in_bounded_time(proxied, monkeypatch):
    monkeypatch.setattr(db_module, "SILENCE_SECONDS", 0.5)
    proxy, url = proxied
    db = Database(url, statement_timeout_seconds=1, application_name="test-silent")
    await db.ping()
    proxy.blackhole = True
    async with asyncio.timeout(15):
        with pytest.raises(Unavailable):
            await db.ping()
    proxy.blackhole = False
    await db.ping()
    await db.close()
