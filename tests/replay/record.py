"""Records the set of today's release: people are sent as far as a point of their plan, and stopped there for good.

    .venv/bin/python tests/replay/record.py            # writes tests/replay/sets/<version of pyproject.toml>

Owns the points. A point is reached by condition, never by time; whoever holds it is killed with -9.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import yaml
from aiokafka import AIOKafkaProducer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import joiners, recorded, recorded_tenant, replay_stand  # noqa: E402
from support.joiners import NORTHWIND, Office  # noqa: E402
from support.mesh import Mesh, running  # noqa: E402
from support.replay_stand import HANG_SECONDS  # noqa: E402
from ucmesh_embedded import topology  # noqa: E402

VOICE, OFFICE_WORK, UNDONE = "Sales", "Finance", "Field Sales"
KNOBS = {"zero_latency": True}
FAR = "2099-01-01"


class Recorder:
    """One recording: the mesh, its doors, and who was sent so far."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.office = Office(mesh)
        self.people: list[dict[str, Any]] = []

    def join(self, point: str, department: str, ends: str, asks: str | None = None, **more: Any) -> dict[str, Any]:
        """Data of somebody new who is part of the story."""
        number = len(self.people) + 1
        facts = {"given_name": f"Point{number}", "surname": "Recorded", "department": department, "city": "Zürich"}
        data = {"customer": "northwind", "employee_id": f"RC-{number}", "sequence": 1, "person": facts, **more}
        self.people.append({"point": point, "data": data, "ends": ends, "asks": asks})
        return data

    def send(self, *told: Any, **more: Any) -> dict[str, Any]:
        data = self.join(*told, **more)
        self.office.send(data, event_ids=[f"recorded-{data['employee_id']}"])
        return data

    def fault(self, **description: Any) -> Callable[[], bool]:
        """Arms the simulator for one request; the answer tells whether it struck."""
        path = f"/_sim/tenants/{NORTHWIND}/faults"
        made = self.office.simulator.post(path, json={"times": 1, **description}).raise_for_status().json()
        return lambda: any(each["id"] == made["id"] and each["struck"] for each in self.office.tenant("faults"))

    def hang(self, **request: Any) -> Callable[[], bool]:
        """The next such request is done and never answered."""
        return self.fault(action="drop-after", delay_seconds=HANG_SECONDS, **request)

    def turn(self, **knobs: Any) -> None:
        self.office.simulator.patch("/_sim/config", params={"tenant": NORTHWIND}, json=knobs).raise_for_status()

    def until(self, reached: Callable[[], bool], what: str) -> None:
        sys.stdout.write(f"{what}\n")
        self.office.until(reached, what)

    def states(self, data: dict[str, Any], service: str) -> set[str]:
        """Of the operations of a person's plan for one service."""
        person = self.office.api.get(f"/people/northwind/{data['employee_id']}")
        plan_id = person.json().get("plan_id") if person.status_code == httpx.codes.OK else None
        rows = self.office.operations(plan_id) if plan_id else []
        return {row["state"] for row in rows if row["service"] == service}

    def end(self, name: str) -> None:
        """kill -9, and nobody starts it again."""
        self.mesh.stack.supervisor.unwatch(name)
        self.mesh.stack.kill(name)

    def count(self, service: str, query: str, *values: Any) -> int:
        async def ask() -> int:
            connection = await asyncpg.connect(self.mesh.stack.wiring.database_url(service))
            try:
                return int(await connection.fetchval(query, *values))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def tell_by_kafka(self, data: dict[str, Any]) -> None:
        """As an HR system that speaks Kafka does."""
        event = joiners.cloudevent(data, f"recorded-{data['employee_id']}")
        headers = [(f"ce_{name}", event[name].encode()) for name in ("specversion", "id", "source", "type", "subject")]
        headers.append(("content-type", b"application/json"))

        async def tell() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.mesh.endpoints.kafka)
            await producer.start()
            try:
                key = f"northwind/{data['employee_id']}".encode()
                await producer.send_and_wait(
                    "ucmesh.hr.lifecycle.v1", json.dumps(data).encode(), key=key, headers=headers
                )
            finally:
                await producer.stop()

        asyncio.run(tell())


def story(at: Recorder) -> None:
    """Every point, the long-lasting ones first. The order matters: who is dead cannot answer any more."""
    at.office.register("northwind")
    done = [at.send("provisioned", department, "provisioned") for department in (VOICE, OFFICE_WORK)]
    at.until(lambda: {at.office.wait(data)["status"] for data in done} == {"provisioned"}, "provisioned")
    at.send("scheduled", OFFICE_WORK, "cancelled", "cancel", effective_date=FAR)
    _waits_and_held(at)
    undone = at.hang(method="DELETE", path="/users/*")
    at.send("in compensation, the undo done in the tenant and not answered", UNDONE, "compensated")
    at.until(undone, "in compensation")
    given = at.hang(face="powershell", path="/MicrosoftTeams/Set-CsPhoneNumberAssignment")
    at.send("cmdlet leased, done in the tenant and not answered, others queued behind it", VOICE, "provisioned")
    at.until(given, "cmdlet leased")
    at.end("pwsh-gateway")
    commanded = at.send("cmdlets commanded, not consumed", VOICE, "provisioned")
    at.until(lambda: "dispatched" in at.states(commanded, "pwsh"), "cmdlets commanded")
    _without_answer(at)


def _waits_and_held(at: Recorder) -> None:
    at.turn(teams_provisioning_seconds=86_400)
    waiting = at.send("waits for Teams, with a timer", VOICE, "provisioned")
    at.until(lambda: "waiting" in at.states(waiting, "pwsh"), "waits")
    at.turn(teams_provisioning_seconds=0)
    at.fault(action="status", status=403, code="Authorization_RequestDenied", method="DELETE", path="/users/*")
    held = at.send("held, its undo was refused", UNDONE, "compensated", "retry")
    at.until(lambda: at.office.wait(held)["status"] == "held", "held")


def _without_answer(at: Recorder) -> None:
    """What Graph, the orchestrator and Kafka have in hand when they end."""
    created = at.hang(method="POST", path="/users")
    at.send("user created, not answered", OFFICE_WORK, "provisioned")
    at.until(created, "user created")
    late = at.fault(action="delay", delay_seconds=4, method="POST", path="/users")
    answered = at.send("reply not consumed", OFFICE_WORK, "provisioned")
    at.until(late, "reply under way")
    at.end("orchestrator")
    done = "SELECT count(*) FROM operation WHERE state = 'done' AND params->>'employee_id' = $1"
    at.until(
        lambda: (
            at.count("graph-adapter", f"{done} AND operation = 'user.ensure'", answered["employee_id"]) == 1
            and at.count("graph-adapter", "SELECT count(*) FROM outbox") == 0
        ),
        "reply not consumed",
    )
    at.end("graph-adapter")
    at.tell_by_kafka(at.join("HR event not consumed", VOICE, "provisioned"))
    _outbox(at)


def _outbox(at: Recorder) -> None:
    """The API alone takes the event in: without a relay nothing leaves the outbox."""
    wiring = at.mesh.stack.wiring
    program = next(each for each in topology.programs(wiring) if each.name == "orchestrator")
    environment = {**topology.base_environment(wiring.places), **program.environment}
    log = (wiring.places.logs / "orchestrator-api.log").open("wb")
    with log, subprocess.Popen([*topology.argv(program), "api"], env=environment, stdout=log, stderr=log) as api:
        try:
            ready = f"{at.mesh.endpoints.url('orchestrator')}/health/ready"
            at.until(lambda: _answers(ready), "API alone")
            at.send("outbox not sent", OFFICE_WORK, "provisioned")
            at.until(lambda: at.count("orchestrator", "SELECT count(*) FROM outbox") > 0, "outbox not sent")
        finally:
            api.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def keep(at: Recorder, built_from: dict[str, Any], folder: Path, version: str) -> None:
    """The set of what stands still now."""
    at.end("cert-manager")
    folder.mkdir(parents=True, exist_ok=True)
    recorded_at = datetime.now(UTC).isoformat()
    for service in topology.SERVICES:
        text = asyncio.run(recorded.dump(at.mesh.stack.wiring.database_url(service)))
        (folder / f"{service}.sql").write_text(text, "utf-8")
    lines = [json.dumps(each, ensure_ascii=False) for each in asyncio.run(recorded.unread(at.mesh.endpoints.kafka))]
    (folder / "messages.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    certificates = asyncio.run(_certificates(at.mesh.stack.wiring.database_url("cert-manager")))
    tenant = recorded_tenant.seed(built_from, at.office.tenant, certificates)
    _write(folder / "tenant.json", {"knobs": KNOBS, "tenants": [tenant]})
    proofs = {each["data"]["person"]["department"]: at.office.proof(each["data"]) for each in at.people[:2]}
    _write(
        folder / "story.json",
        {"release": version, "recorded_at": recorded_at, "people": at.people, "proofs": proofs},
    )


async def _certificates(url: str) -> list[bytes]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT certificate_der FROM credential WHERE state = 'active'")
        return [bytes(row["certificate_der"]) for row in rows if row["certificate_der"]]
    finally:
        await connection.close()


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def main() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    examples = yaml.safe_load((joiners.EXAMPLES / "tenants.yaml").read_text("utf-8"))
    built_from = next(each for each in examples["tenants"] if each["tenant_id"] == NORTHWIND)
    with tempfile.TemporaryDirectory() as folder:
        seed_file, home = Path(folder) / "seed.json", Path(folder) / "home"
        _write(seed_file, {"knobs": KNOBS, "tenants": [built_from]})
        replay_stand.give_keys(home)
        with running(home, replay_stand.options(seed_file, seed=1)) as mesh:
            at = Recorder(mesh)
            story(at)
            keep(at, built_from, recorded.SETS / version, version)


if __name__ == "__main__":
    main()
