"""kill -9 at every fault point of a joiner, in three services at once; the tenant ends as it does undisturbed.

Goal: what a service owes after dying on any line is paid by its next start: nothing lost, nothing done twice.
Method: arm one point in each of orchestrator, graph-adapter and pwsh-gateway, send one joiner, wait for its proof, and
compare what the tenant holds of them with a joiner nobody disturbed. A run in which a point was not reached fails.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from support import joiners
from support.joiners import Office
from support.mesh import running
from ucmesh_embedded.errors import StackError

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]

EVERYWHERE = (
    "consumer.before_commit@1",
    "consumer.after_commit@1",
    "consumer.after_offsets@1",
    "outbox.before_append@1",
    "outbox.after_append@1",
    "relay.before_send@1",
    "relay.after_send@1",
    "relay.after_delete@1",
)
POINTS = {
    # Timers have transactions too: this one strikes somewhere between the start and the middle of the joiner.
    "orchestrator": (*EVERYWHERE, "db.before_commit@12", "db.after_commit@12", "consumer.before_commit@3"),
    "graph-adapter": (
        *EVERYWHERE,
        "graph.leased@1",
        "graph.before_send@1",
        "graph.answered@2",
        "graph.before_settle@1",
        "graph.settled@1",
    ),
    "pwsh-gateway": (
        *EVERYWHERE,
        "gateway.after_lease@1",
        "gateway.before_write@1",
        "gateway.after_write@1",
        "gateway.before_finish@1",
        "gateway.after_finish@1",
    ),
}
RUNS = list(itertools.zip_longest(*POINTS.values()))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    quick = {"LEASE_SECONDS": "2"}
    options = joiners.options()
    environment = {
        **options.environment,
        "graph-adapter": {f"GRAPH_ADAPTER_{name}": value for name, value in quick.items()},
        "pwsh-gateway": {f"PWSH_GATEWAY_{name}": value for name, value in quick.items()},
    }
    with running(tmp_path_factory.mktemp("mesh"), replace(options, environment=environment)) as mesh:
        made = Office(mesh)
        made.register("northwind")
        yield made


@pytest.fixture(scope="module")
def undisturbed(office: Office) -> dict:
    data = office.person()
    office.send(data)
    assert office.wait(data)["status"] == "provisioned"
    return office.proof(data)


@pytest.mark.parametrize("points", RUNS, ids=lambda run: "+".join(each.partition("@")[0] for each in run if each))
def test_the_tenant_ends_as_if_nothing_had_died(office: Office, undisturbed: dict, points: tuple) -> None:
    armed = {service: point for service, point in zip(POINTS, points, strict=True) if point is not None}
    told = len(office.mesh.told)
    for service, point in armed.items():
        # A point may be passed before the service answers: then it dies while it starts, and comes back all the same.
        with contextlib.suppress(StackError):
            office.mesh.restart(service, faults=f"{point}=kill")
    data = office.person()
    office.send_until_taken(data)
    person = office.wait(data)
    assert person["status"] == "provisioned", person["reason"]
    assert office.proof(data) == undisturbed
    assert len(office.users(data)) == 1
    died = {line.partition(":")[0] for line in office.mesh.told[told:] if "starting it again" in line}
    assert died == set(armed), f"armed {armed}, died {died}"
    for service in armed:
        office.mesh.settled(service)
