"""An office for each test: its own empty tables on the module's database."""

from collections.abc import AsyncIterator

import pytest

from support.rules_office import Office, open_office


@pytest.fixture
async def office(postgres_url: str) -> AsyncIterator[Office]:
    office = await open_office(postgres_url)
    yield office
    await office.db.close()
