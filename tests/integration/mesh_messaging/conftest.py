"""Fixtures: one place per test, with a database of its own."""

from collections.abc import AsyncIterator, Callable

import pytest

from support.messaging import Place, make_place


@pytest.fixture
async def place(fresh_database: Callable[[], str], kafka_bootstrap: str) -> AsyncIterator[Place]:
    """PostgreSQL and Apache Kafka."""
    made = await make_place(fresh_database(), kafka_bootstrap)
    yield made
    await made.db.close()


@pytest.fixture
async def database(fresh_database: Callable[[], str]) -> AsyncIterator[Place]:
    """PostgreSQL only."""
    made = await make_place(fresh_database(), None)
    yield made
    await made.db.close()
