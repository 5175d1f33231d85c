"""One simulator for the session, a tenant per test."""

from collections.abc import Iterator

import pytest

from support.simulated import Simulator, Tenant, install, started, tenant_spec


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with started(tmp_path_factory.mktemp("simulator")) as up:
        yield up


@pytest.fixture
def tenant(simulator: Simulator) -> Iterator[Tenant]:
    made = install(simulator, tenant_spec())
    yield made
    for client in made.clients:
        client.close()
