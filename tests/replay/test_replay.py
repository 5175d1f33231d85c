"""Plans that an earlier release left in flight: today's code takes its databases and messages, and finishes them."""

import asyncio
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph_adapter.adapters.templates import load_catalogue
from orchestrator.participants.mesh import AWAIT_PERSON
from pwsh_gateway.adapters.shipped import catalogue
from support import real_parts, recorded, replay_stand
from support.joiners import Office
from support.mesh import Mesh, running
from support.recorded import RecordedSet
from ucmesh_embedded import topology

ROOT = Path(__file__).parents[2]
SETS = recorded.every()


@pytest.fixture(scope="module", params=SETS, ids=lambda one: one.folder.name)
def taken_over(request: pytest.FixtureRequest) -> Iterator[tuple[RecordedSet, Office]]:
    """A mesh of today's services on what the recorded release left."""
    left: RecordedSet = request.param
    with real_parts.server_folder() as folder:
        home = folder / "home"
        replay_stand.give_keys(home)
        with running(home, replay_stand.options(left.tenant_file, seed=2), topology.SERVERS) as mesh:
            asyncio.run(_put_back(left, mesh))
            mesh.start()
            yield left, Office(mesh)


async def _put_back(left: RecordedSet, mesh: Mesh) -> None:
    for service in topology.SERVICES:
        await left.restore(service, mesh.stack.wiring.database_url(service))
    await left.play(mesh.endpoints.kafka)


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_every_plan_in_flight_reaches_its_end_and_nothing_is_done_twice(
    taken_over: tuple[RecordedSet, Office],
) -> None:
    left, office = taken_over
    for person in left.people:
        if person["asks"]:
            plan_id = office.wait(person["data"])["plan_id"]
            office.api.post(f"/plans/{plan_id}/{person['asks']}").raise_for_status()
    for person in left.people:
        _ends_right(left, office, person)
    there = {user["properties"]["employeeId"] for user in _seeded_users(left)}
    created = [_employee(entry) for entry in office.tenant("requests")["entries"] if _creates_user(entry)]
    assert there.isdisjoint(created)
    for service in topology.SERVICES:
        with office.mesh.client(service) as client:
            assert client.get("/dead-letters").raise_for_status().json()["items"] == []


def _ends_right(left: RecordedSet, office: Office, person: dict[str, Any]) -> None:
    data, point = person["data"], person["point"]
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(office.wait(data))
        return bool(found["status"] == person["ends"])

    office.until(ended, f"{point!r} to be {person['ends']}", lambda: f"{found.get('status')} {found.get('reason')}")
    if person["ends"] == "provisioned":
        assert office.proof(data) == left.story["proofs"][data["person"]["department"]], point
    else:
        assert office.users(data) == [], point


def _seeded_users(left: RecordedSet) -> list[dict[str, Any]]:
    (tenant,) = json.loads(left.tenant_file.read_text("utf-8"))["tenants"]
    return list(tenant["users"])


def _creates_user(entry: dict[str, Any]) -> bool:
    return bool(entry["method"] == "POST" and entry["path"].endswith("/users"))


def _employee(entry: dict[str, Any]) -> str:
    return str(entry["body"]["employeeId"])


@pytest.mark.parametrize("left", SETS, ids=lambda one: one.folder.name)
def test_every_operation_of_a_set_is_still_known(left: RecordedSet) -> None:
    assert left.operations() - _known() == set()


@pytest.mark.parametrize("gone", [("graph", "user.ensure", 1), ("pwsh", "teams.number.assign", 1)])
def test_removing_an_operation_that_plans_in_flight_hold_is_found(gone: tuple[str, str, int]) -> None:
    assert [left.operations() - (_known() - {gone}) for left in SETS] == [{gone} for _ in SETS]


def test_the_set_of_this_release_is_there() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert version in [left.folder.name for left in SETS], "run: .venv/bin/python tests/replay/record.py"


def _known() -> set[tuple[str, str, int]]:
    """Target, name and version of every operation of today's catalogues."""
    graph = {("graph", *key) for key in load_catalogue().templates}
    pwsh = {("pwsh", *key) for key in catalogue().entries}
    return graph | pwsh | {("mesh", AWAIT_PERSON, 1)}
