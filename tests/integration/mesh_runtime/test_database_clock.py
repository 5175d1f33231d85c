"""The clock of the database, carried on by a monotonic one; on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from mesh_runtime.database_clock import DatabaseClock
from mesh_runtime.db import Database
from mesh_runtime.errors import Unavailable

pytestmark = pytest.mark.postgres

SLACK = timedelta(seconds=30)
"""For a busy machine between two readings."""


class Elapsed:
    """A monotonic clock that moves only when told, and starts where no wall clock is."""

    seconds = 5_000.0

    def __call__(self) -> float:
        return self.seconds


async def clock_of(db: Database) -> datetime:
    async with db.read() as tx:
        found: datetime = (await tx.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return found


async def test_it_tells_the_databases_time_and_goes_on_without_it(postgres_url: str) -> None:
    db, elapsed = Database(postgres_url), Elapsed()
    clock = DatabaseClock(db, monotonic=elapsed)
    assert abs(clock.now() - datetime.now(UTC)) < SLACK  # nothing is known yet: the machine's
    await clock.look()
    first = clock.now()
    assert first <= await clock_of(db) < first + SLACK
    elapsed.seconds += 3600
    assert clock.now() == first + timedelta(hours=1)
    assert clock.monotonic() == elapsed.seconds
    await clock.look()  # the monotonic clock was wrong: the database is right
    assert abs(clock.now() - await clock_of(db)) < SLACK
    await db.close()


async def test_the_machines_clock_stops_mattering_with_the_first_look(postgres_url: str) -> None:
    db = Database(postgres_url)
    one, other = DatabaseClock(db), DatabaseClock(db, monotonic=Elapsed())
    await one.look()
    await other.look()
    assert abs(one.now() - other.now()) < SLACK
    await db.close()


async def test_a_database_that_is_away_is_said_and_changes_nothing() -> None:
    db = Database("postgresql://nobody@127.0.0.1:1/none")
    clock = DatabaseClock(db)
    with pytest.raises(Unavailable):
        await clock.look()
    assert abs(clock.now() - datetime.now(UTC)) < SLACK
    await db.close()
