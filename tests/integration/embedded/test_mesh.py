"""The whole mesh: every door is closed without a token, every service heals, spans of one request end in one trace."""

import functools
import secrets
import uuid

import httpx
import pytest

from support.killing import await_gone
from support.mesh import Mesh
from support.waiting import eventually_sync
from ucmesh_embedded import topology


def answers_ok(url: str) -> bool:
    return httpx.get(url).status_code == 200


@pytest.mark.parametrize("name", topology.SERVICES)
def test_health_is_open_and_everything_else_is_not(mesh: Mesh, name: str) -> None:
    url = mesh.endpoints.url(name)
    assert httpx.get(f"{url}/health/ready").status_code == 200
    for path in ("/metrics", "/openapi.json", "/dead-letters"):
        assert httpx.get(url + path).status_code == 401, path
    with mesh.client(name) as client:
        assert client.get("/dead-letters").json()["items"] == []
        assert client.get("/metrics").status_code == 200


def test_every_killed_service_comes_back_on_its_address(mesh: Mesh) -> None:
    before = {name: mesh.stack.pid(name) for name in topology.SERVICES}
    for name in topology.SERVICES:
        mesh.kill(name)
    await_gone(list(before.values()))
    for name in topology.SERVICES:
        mesh.settled(name)
        assert mesh.stack.pid(name) != before[name]
        assert httpx.get(f"{mesh.endpoints.url(name)}/health/ready").status_code == 200


def test_services_outlive_a_kill_of_their_servers(mesh: Mesh) -> None:
    before = {name: mesh.stack.pid(name) for name in topology.SERVICES}
    for name in ("postgres", "kafka"):
        mesh.kill(name)
    for name in ("postgres", "kafka"):
        mesh.settled(name)
    for name in topology.SERVICES:
        ready = f"{mesh.endpoints.url(name)}/health/ready"
        eventually_sync(functools.partial(answers_ok, ready), seconds=30, what=f"{name} ready again")
    assert {name: mesh.stack.pid(name) for name in topology.SERVICES} == before


def test_the_simulated_tenants_survive_a_restart(mesh: Mesh) -> None:
    tenant_id = str(uuid.uuid4())
    with mesh.client("simulator-admin") as admin:
        spec = {"tenant_id": tenant_id, "display_name": "Kept", "initial_domain": "kept.onmicrosoft.com"}
        assert admin.post("/_sim/tenants", json=spec).is_success
        mesh.restart("simulator")
        assert admin.get(f"/_sim/tenants/{tenant_id}/state", params={"section": "users"}).status_code == 200


def test_the_spans_of_a_request_are_found_by_its_trace(mesh: Mesh) -> None:
    trace_id = secrets.token_hex(16)
    with mesh.client("orchestrator") as client:
        client.get("/customers", headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})
    with mesh.client("traces") as traces:

        def spans() -> list[str]:
            answer = traces.get(f"/api/traces/{trace_id}")
            return [s["operationName"] for s in answer.json()["data"][0]["spans"]] if answer.is_success else []

        assert eventually_sync(spans, what="spans of the request")
        assert "orchestrator" in traces.get("/api/services").json()["data"]


def test_an_armed_fault_kills_once_and_the_next_start_is_ordinary(mesh: Mesh) -> None:
    mesh.restart("graph-adapter", faults="outbox.no-such-point@1=kill")
    armed = mesh.stack.pid("graph-adapter")
    mesh.kill("graph-adapter")
    mesh.settled("graph-adapter")
    log = mesh.stack.places.logs / "graph-adapter.log"
    assert log.read_text().count("faults.armed") <= 1
    assert mesh.stack.pid("graph-adapter") != armed
