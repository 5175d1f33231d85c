"""Clocks that jump: the second replica of every service has a wall clock that goes hours and seconds ahead and behind,
while people join. Nothing is lost, doubled, stuck, given up or undone.

Method: libfaketime moves the clock of the running process (support/jumping_clock.py). Each jump happens with joiners
under way; more of them come when every second replica is known to live at the wrong time: its metrics say by how much.
The clock stays wrong until they have ended.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from support import joiners
from support.joiners import Office
from support.jumping_clock import JumpingClock, library
from support.mesh import running
from support.real_parts import server_folder
from ucmesh_embedded import topology
from ucmesh_embedded.topology import Options

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.postgres,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(library() is None, reason="libfaketime comes as a library for Linux on x86-64 only"),
]

HOUR = 3600
JUMPS = (6 * HOUR, -30, -6 * HOUR, 30, 0)
"""How far ahead of the true time the clock is, one after the other."""
JOINERS = 6
"""With each jump: half of them are under way when it happens."""
SEATS = 200
TOLERANCE_SECONDS = 5
AHEAD = "ucmesh_clock_machine_ahead_seconds"
SECOND = tuple(f"{name}-2" for name in topology.SERVICES)


def options(clock: JumpingClock) -> Options:
    plain = joiners.options()
    wrong = dict.fromkeys(SECOND, clock.environment)
    return replace(plain, environment={**plain.environment, **wrong}, trace_ratio=0, pwsh=False, replicas=2)


@pytest.fixture(scope="module")
def clock_and_office() -> Iterator[tuple[JumpingClock, Office]]:
    with server_folder() as folder:
        clock = JumpingClock(folder / "clock")
        with running(folder / "home", options(clock)) as mesh:
            office = Office(mesh)
            office.register("northwind")
            office.make_room(SEATS)
            yield clock, office


def ahead(office: Office, name: str) -> float:
    """How far a replica's machine is ahead of the database, by its own metrics."""
    with office.mesh.client(name) as client:
        metrics = client.get("/metrics").raise_for_status().text
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"{AHEAD} ")]
    return float(line.split()[1])


def jump(clock: JumpingClock, office: Office, seconds: int) -> None:
    clock.set(seconds)
    for name in SECOND:
        office.until(lambda name=name: abs(ahead(office, name) - seconds) < TOLERANCE_SECONDS, f"the clock of {name}")


def test_joiners_end_as_if_no_clock_had_jumped(clock_and_office: tuple[JumpingClock, Office]) -> None:
    clock, office = clock_and_office
    first = office.person()
    office.send(first)
    assert office.wait(first)["status"] == "provisioned"
    undisturbed = office.proof(first)
    everybody = []
    for seconds in JUMPS:
        people = [office.person() for _ in range(JOINERS)]
        office.send(*people[: JOINERS // 2])
        jump(clock, office, seconds)
        office.send(*people[JOINERS // 2 :])
        for data in people:
            person = office.wait(data)
            assert person["status"] == "provisioned", f"clock {seconds:+d} s, {data['employee_id']}: {person['reason']}"
        everybody += people
    for data in everybody:
        assert office.proof(data) == undisturbed
    plans = office.api.get("/plans", params={"limit": 500}).raise_for_status().json()["items"]
    assert {plan["state"] for plan in plans} == {"succeeded"}
    assert len(plans) == len(everybody) + 1
    assert abs(ahead(office, "orchestrator")) < TOLERANCE_SECONDS
    for name in itertools.chain(topology.SERVICES, SECOND):
        with office.mesh.client(name) as client:
            assert client.get("/dead-letters").raise_for_status().json()["items"] == []
    assert [line for line in office.mesh.told if "starting it again" in line] == []
