"""The databases go back to earlier moments while the tenant stays as it is: what the tenant has wins."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from support import joiners
from support.backups import Backups
from support.joiners import Office, cloudevent
from support.mesh import Mesh, running
from ucmesh_cli.main import app
from ucmesh_embedded.topology import SERVICES

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(900)]

HR_TOPIC = "ucmesh.hr.lifecycle.v1"
CONSUMED = {
    "orchestrator": (
        HR_TOPIC,
        "ucmesh.orchestrator.replies.v1",
        "ucmesh.orchestrator-bulk.replies.v1",
        "ucmesh.certificates.v1",
    ),
    "graph-adapter": ("ucmesh.graph.commands.v1", "ucmesh.graph-bulk.commands.v1", "ucmesh.certificates.v1"),
    "pwsh-gateway": ("ucmesh.pwsh.commands.v1", "ucmesh.pwsh-bulk.commands.v1", "ucmesh.certificates.v1"),
    "cert-manager": ("ucmesh.certs.commands.v1", "ucmesh.cert-manager.replies.v1"),
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A mesh of its own: everybody's databases go back."""
    with running(tmp_path, joiners.options()) as mesh:
        made = Office(mesh)
        made.register("northwind")
        yield made


@pytest.mark.parametrize("older", [("orchestrator",), ("graph-adapter", "pwsh-gateway")], ids="+".join)
def test_after_a_restore_the_tenant_is_as_it_was_and_the_records_agree_with_it(
    office: Office, older: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`older`: services whose databases go back further than the others, to before the second person."""
    mesh = office.mesh
    backups = Backups(mesh)
    asyncio.run(backups.archive())
    for service in SERVICES:
        mesh.settled(service)
    before = [office.person() for _ in range(2)]
    office.send(before[0])
    office.wait(before[0])
    backups.dump(*older)
    office.send(before[1])
    assert all(office.wait(data)["status"] == "provisioned" for data in before)
    moment = asyncio.run(backups.back_up())

    # HR speaks HTTP for some and has to send these again; Kafka still has the others. The others come first then, and
    # are promised numbers in another order than the one Teams knows.
    resent, *replayed = after = [office.person() for _ in range(3)]
    office.send(resent)
    office.wait(resent)
    asyncio.run(send_by_kafka(mesh, replayed))
    known = {data["employee_id"]: office.wait(data) for data in (*before, *after)}
    assert {person["status"] for person in known.values()} == {"provisioned"}
    asyncio.run(backups.close_wal())
    tenant = holdings(office, *before, *after)
    writes = office.writes()

    mesh.end(*SERVICES, "postgres")
    backups.put_back(moment)
    mesh.begin("postgres")
    backups.load(*older)
    with ThreadPoolExecutor(len(CONSUMED)) as threads:
        for output in threads.map(lambda service: replay(mesh, service), CONSUMED):
            assert "failed" not in output
    mesh.begin(*SERVICES)
    for data in replayed:
        office.wait(data)
    for data in (before[1], resent):
        office.send(data)
        office.wait(data)
    monkeypatch.setenv("UCMESH_PROFILE", str(mesh.stack.places.home / "cli.json"))
    answer = CliRunner().invoke(app, ["resync", "--customer", "northwind", "--json"])
    assert answer.exit_code == 0, answer.output

    for data in (*before, *after):
        office.until(lambda data=data: office.wait(data)["status"] == "provisioned", data["employee_id"])
        person = office.wait(data)
        former = known[data["employee_id"]]
        assert (person["number"], person["user_principal_name"]) == (former["number"], former["user_principal_name"])
        assert {line["verdict"] for line in person["lines"]} == {"same"}
    assert holdings(office, *before, *after) == tenant
    assert office.writes() == writes, "the restore made the mesh write again what was there"
    # The ledger goes on where the tenant stands: the next one gets what nobody has.
    late = office.person()
    office.send(late)
    assert office.wait(late)["status"] == "provisioned"
    assert office.wait(late)["number"] not in {person["number"] for person in known.values()}


def replay(mesh: Mesh, service: str) -> str:
    """All topics of one service, one after the other."""
    told = []
    for topic in CONSUMED[service]:
        done = mesh.command(service, "replay", topic, "--from-beginning", "--yes")
        told.append(done.stdout if done.returncode == 0 else f"failed: {done.stdout}{done.stderr}")
    return "".join(told)


async def send_by_kafka(mesh: Mesh, people: list[dict]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=mesh.endpoints.kafka)
    await producer.start()
    try:
        for data in people:
            event = cloudevent(data, f"kafka-{data['employee_id']}")
            headers = [(f"ce_{name}", str(value).encode()) for name, value in event.items() if name != "data"]
            headers.append(("content-type", b"application/json"))
            await producer.send_and_wait(HR_TOPIC, json.dumps(data).encode(), key=b"k", headers=headers)
    finally:
        await producer.stop()


def holdings(office: Office, *people: dict) -> dict:
    """What each person has in the tenant, their ids and numbers included."""
    numbers = {each["holder"]: each["number"] for each in office.tenant("numbers") if each["holder"]}
    found = {}
    for data in people:
        (user,) = office.users(data)
        found[data["employee_id"]] = (user["id"], numbers[user["id"]], office.proof(data))
    return found
