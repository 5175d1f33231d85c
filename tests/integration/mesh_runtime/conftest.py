"""A database with one table, and a server that can be made to fall silent."""

from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from mesh_runtime.db import Database
from support.toxic import ToxicProxy, through
from support.tripwire import PostgresConnection, Trip, Wire


@pytest.fixture
async def db(postgres_url):
    database = Database(postgres_url, pool_size_max=3, application_name="test-db")
    async with database.transaction() as tx:
        await tx.execute(text("DROP TABLE IF EXISTS thing"))
        await tx.execute(text("CREATE TABLE thing (id int PRIMARY KEY, data jsonb)"))
    yield database
    await database.close()


@pytest.fixture
async def proxied(postgres_url):
    """A proxy in front of the server and the URL through it."""
    proxy = await ToxicProxy(*_place(postgres_url)).up()
    yield proxy, through(postgres_url, proxy.port)
    await proxy.down()


@pytest.fixture
async def tripped(postgres_url):
    """What refuses a statement between a client and the server, the URL through it, and the client's role."""
    trip = Trip()
    wire = Wire(trip, PostgresConnection, upstream_port=_place(postgres_url)[1])
    await wire.up()
    yield trip, through(postgres_url, wire.port), urlsplit(postgres_url).username
    await wire.down()


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 5432)
