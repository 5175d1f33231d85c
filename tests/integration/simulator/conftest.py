"""One simulator for the session, a tenant per test; for cmdlets a tenant per file, for each way in."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.cmdlet_entry import Entry
from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, started, tenant_spec


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


@pytest.fixture(scope="module", params=["http", "simulated", pytest.param("pwsh", marks=pytest.mark.pwsh)])
def entry(request: pytest.FixtureRequest, simulator: Simulator) -> Iterator[Entry]:
    key, certificate = make_certificate("ucmesh")
    spec = tenant_spec()
    spec["skus"] = [{"part_number": name, "seats": 500} for name in ("SPE_E5", "SPE_E3", "MCOEV", "MCOPSTN1")]
    spec["numbers"] += [{"first": "+41445553000", "last": "+41445553099", "type": "DirectRouting"}]
    spec["applications"][0]["certificates"] = [{"certificate": pem_of(certificate)}]
    with ExitStack() as stack:
        tenant = install(simulator, spec)
        yield Entry(request.param, tenant, spec["initial_domain"], key, certificate, stack)
        for client in tenant.clients:
            client.close()


FREE = iter(range(41445553000, 41445553100))


@pytest.fixture
def number() -> str:
    return f"+{next(FREE)}"
