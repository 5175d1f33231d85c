"""Fixtures of the graph adapter's integration and fault tests: one simulator for the session; per test a tenant of its
own and a service on the module's database.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from support.graph_rig import Rig
from support.graph_rig import rig as made
from support.simulated import Simulator, Tenant, install, started, tenant_spec


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with started(tmp_path_factory.mktemp("simulator")) as up:
        yield up


@pytest.fixture
def tenant(simulator: Simulator) -> Iterator[Tenant]:
    new = install(simulator, tenant_spec())
    yield new
    for client in new.clients:
        client.close()


@pytest.fixture
async def idle_rig(simulator: Simulator, postgres_url: str) -> AsyncIterator[Rig]:
    """No worker runs."""
    async with made(simulator, postgres_url) as up:
        yield up


@pytest.fixture
async def rig(idle_rig: Rig, tenant: Tenant) -> AsyncIterator[Rig]:
    """A worker runs and the tenant's credential is active."""
    await idle_rig.activate(tenant)
    async with idle_rig.working():
        yield idle_rig
