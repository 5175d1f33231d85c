"""A gateway with a scripted session host, on the module's database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.gateway import ADAM, ZOE, Gateway, Script, make_gateway


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path)
    script.users(**{ZOE: {"Identity": "id-zoe", "LineURI": None}, ADAM: {"Identity": "id-adam", "LineURI": None}})
    return script


@pytest.fixture
async def gateway(postgres_url: str, script: Script, tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = await make_gateway(postgres_url, script.command(), tmp_path)
    yield gateway
    await gateway.db.close()
