"""A database with one table, and a server that can be made to fall silent."""

from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import text

from mesh_runtime.db import Database
from support.toxic import ToxicProxy


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
    parts = urlsplit(postgres_url)
    proxy = await ToxicProxy(parts.hostname, parts.port).up()
    netloc = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
    yield proxy, urlunsplit(parts._replace(netloc=netloc))
    await proxy.down()
