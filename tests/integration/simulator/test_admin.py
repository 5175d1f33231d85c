"""The admin API as tests and the demo use it, and the process itself."""

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.simulated import ADMIN_TOKEN, Simulator, Tenant, make_certificate, pem_of, private_pem, tenant_spec


def test_nothing_but_health_is_open(simulator: Simulator) -> None:
    with httpx.Client(base_url=simulator.admin_url) as stranger:
        assert stranger.get("/_sim/health").status_code == 200
        assert stranger.get("/_sim/tenants").status_code == 401
        wrong = stranger.post("/_sim/reset", headers={"authorization": "Bearer wrong"})
        assert wrong.status_code == 401
    answer = httpx.get(f"{simulator.base_url}/_sim/tenants", verify=simulator.context())
    assert answer.status_code == 404  # never on the Microsoft port


def test_a_tenant_is_replaced_listed_and_removed(simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["users"] = [{"properties": {"userPrincipalName": f"boss@{spec['domains'][0]}"}}]
    with simulator.admin() as admin:
        for _ in range(2):
            assert admin.post("/_sim/tenants", json=spec).status_code == 201
        listed = [one for one in admin.get("/_sim/tenants").json()["tenants"] if one["tenant_id"] == spec["tenant_id"]]
        assert [one["users"] for one in listed] == [1]
        assert admin.delete(f"/_sim/tenants/{spec['tenant_id']}").status_code == 204
        assert admin.get(f"/_sim/tenants/{spec['tenant_id']}/state").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/_sim/tenants", {"tenant_id": "x"}),
        ("POST", "/_sim/tenants", [1]),
        ("POST", "/_sim/tenants", {**tenant_spec(), "policies": {"Nope": ["x"]}}),
        ("POST", "/_sim/tenants/{tenant}/faults", {"action": "explode"}),
        ("POST", "/_sim/tenants/{tenant}/policies", {"type": "Nope", "name": "x"}),
        ("PATCH", "/_sim/tenants/{tenant}/skus/SPE_E5", {"seats": -1}),
        ("PATCH", "/_sim/config", {"nope": 1}),
        ("POST", "/_sim/clock", {"advance_seconds": -5}),
        ("GET", "/_sim/tenants/{tenant}/state?section=nope", None),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    simulator: Simulator, tenant: Tenant, method: str, path: str, body: object
) -> None:
    seen = ("/_sim/tenants", f"/_sim/tenants/{tenant.tenant_id}/state", "/_sim/config")
    with simulator.admin() as admin:
        before = [admin.get(one).json() for one in seen]
        answer = admin.request(method, path.format(tenant=tenant.tenant_id), json=body)
        after = [admin.get(one).json() for one in seen]

    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert after == before


def test_seats_and_consent_can_be_changed_while_it_runs(simulator: Simulator, tenant: Tenant) -> None:
    with simulator.admin() as admin:
        admin.patch(f"/_sim/tenants/{tenant.tenant_id}/skus/SPE_E5", json={"seats": 9})
        admin.patch(f"/_sim/tenants/{tenant.tenant_id}/applications/{tenant.client_id}", json={"roles": []})

    assert next(sku for sku in tenant.state("skus") if sku["skuPartNumber"] == "SPE_E5")["enabled"] == 9
    assert tenant.graph().get("/organization").status_code == 403


def test_faults_are_listed_counted_and_removed(simulator: Simulator, tenant: Tenant) -> None:
    fault_id = tenant.fault(action="status", path="/organization", status=503, times=0)
    graph = tenant.graph()
    assert [graph.get("/organization").status_code for _ in range(3)] == [503] * 3

    with simulator.admin() as admin:
        listed = admin.get(f"/_sim/tenants/{tenant.tenant_id}/faults").json()["faults"]
        assert [(one["id"], one["struck"]) for one in listed] == [(fault_id, 3)]
        assert admin.delete(f"/_sim/tenants/{tenant.tenant_id}/faults", params={"id": fault_id}).json() == {
            "removed": 1
        }
    assert graph.get("/organization").status_code == 200


def test_the_whole_state_is_one_document(tenant: Tenant) -> None:
    graph = tenant.graph()
    graph.post("/users", json=tenant.user_body("adele"))
    with tenant.simulator.admin() as admin:
        state = admin.get(f"/_sim/tenants/{tenant.tenant_id}/state").json()

    assert set(state) >= {"users", "groups", "skus", "mailboxes", "teams_users", "numbers", "applications", "requests"}
    assert state["requests"]["counts"]["graph POST 201"] == 1
    assert len([one for one in state["numbers"] if one["holder"]]) == 1


def test_every_door_counts_its_writes_and_no_read(simulator: Simulator, tenant: Tenant) -> None:
    graph = tenant.graph()
    teams = {"authorization": f"Bearer {tenant.token('48ac35b8-9aa8-4d74-927d-1f4a14a0b239/.default')}"}
    cmdlets = httpx.Client(
        base_url=f"{simulator.base_url}/powershell/MicrosoftTeams", headers=teams, verify=simulator.context()
    )
    at_first = simulator.world.writes

    graph.get("/users")
    cmdlets.post("/Get-CsTenant", json={})
    tenant.state("users")
    assert simulator.world.writes == at_first
    graph.post("/users", json=tenant.user_body("adele"))
    graph.post("/$batch", json={"requests": [{"id": "1", "method": "DELETE", "url": f"/users/adele@{tenant.domain}"}]})
    cmdlets.post("/Grant-CsTeamsCallingPolicy", json={"parameters": {"PolicyName": "AllowCalling"}})
    tenant.turn(retry_after=True)
    cmdlets.close()

    assert simulator.world.writes == at_first + 4


# -- the process -------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ucmesh_simulator", "serve", *arguments]


def serving(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stderr is not None
    line: dict[str, Any] = json.loads(process.stderr.readline())
    return line


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_the_command_serves_a_seed_file_and_stops_on_sigterm(tmp_path: Path, suffix: str) -> None:
    key, certificate = make_certificate("localhost", host="localhost")
    (tmp_path / "server.pem").write_text(pem_of(certificate))
    (tmp_path / "key.pem").write_text(private_pem(key))
    spec = tenant_spec()
    (tmp_path / f"seed.{suffix}").write_text(json.dumps({"knobs": {"zero_latency": True}, "tenants": [spec]}))
    arguments = command(
        "--certfile", str(tmp_path / "server.pem"), "--keyfile", str(tmp_path / "key.pem"), "--seed-file",
        str(tmp_path / f"seed.{suffix}"),
    )  # fmt: skip
    environment = {**os.environ, "UCMESH_SIMULATOR_ADMIN_TOKEN": ADMIN_TOKEN}
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment) as process:
        up = serving(process)
        simulator = Simulator(up["base_url"], up["admin_url"], tmp_path / "server.pem", None)  # type: ignore[arg-type]
        with simulator.admin() as admin:
            assert admin.get("/_sim/tenants").json()["tenants"][0]["tenant_id"] == spec["tenant_id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_tenants_in_a_state_file_outlive_the_process_and_the_seed(tmp_path: Path) -> None:
    specs = [tenant_spec(), tenant_spec()]
    (tmp_path / "seed.json").write_text(json.dumps({"tenants": specs[:1]}))
    arguments = command("--seed-file", str(tmp_path / "seed.json"), "--state-file", str(tmp_path / "state"))
    environment = {**os.environ, "UCMESH_SIMULATOR_ADMIN_TOKEN": ADMIN_TOKEN}
    seen: list[set[str]] = []
    for run in range(2):
        with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment) as process:
            up = serving(process)
            simulator = Simulator(up["base_url"], up["admin_url"], tmp_path / "none", None)  # type: ignore[arg-type]
            with simulator.admin() as admin:
                seen.append({one["tenant_id"] for one in admin.get("/_sim/tenants").json()["tenants"]})
                if run == 0:
                    assert admin.post("/_sim/tenants", json=specs[1]).status_code == 201
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0

    assert seen == [{specs[0]["tenant_id"]}, {one["tenant_id"] for one in specs}]


def test_a_state_file_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    environment = {**os.environ, "UCMESH_SIMULATOR_ADMIN_TOKEN": ADMIN_TOKEN}

    done = subprocess.run(
        command("--state-file", str(tmp_path / "missing" / "state")),
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "the state file cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "seed", "text"),
    [
        ({"UCMESH_SIMULATOR_ADMIN_TOKEN": ""}, "{}", "UCMESH_SIMULATOR_ADMIN_TOKEN"),
        ({}, "not json", "seed.json"),
        ({}, '{"tenants": [{"tenant_id": "x"}]}', "tenants.0"),
    ],
)
def test_it_does_not_start_on_a_wrong_setup_and_says_why(
    tmp_path: Path, environment: dict[str, str], seed: str, text: str
) -> None:
    (tmp_path / "seed.json").write_text(seed)
    known = {**os.environ, "UCMESH_SIMULATOR_ADMIN_TOKEN": str(uuid.uuid4()), **environment}

    done = subprocess.run(
        command("--seed-file", str(tmp_path / "seed.json")),
        capture_output=True,
        text=True,
        env=known,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert text in done.stderr
