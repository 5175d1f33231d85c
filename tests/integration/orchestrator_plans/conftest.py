"""A database for each test: the module's own, with the plans' tables emptied; and a mesh that joins people on it."""

from collections.abc import AsyncIterator

import pytest

from mesh_runtime.db import Database
from support.plan_mesh import PlanMesh, empty, joiner, open_database
from support.plan_script import JOINER_CHANGES


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[Database]:
    database = await open_database(postgres_url)
    await empty(database)
    yield database
    await database.close()


@pytest.fixture
def mesh(db: Database) -> PlanMesh:
    return PlanMesh(db, joiner, JOINER_CHANGES)
