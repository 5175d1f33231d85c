"""A database for each test: the module's own, with the plans' tables emptied."""

from collections.abc import AsyncIterator

import pytest

from mesh_runtime.db import Database
from support.plan_mesh import empty, open_database


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[Database]:
    database = await open_database(postgres_url)
    await empty(database)
    yield database
    await database.close()
