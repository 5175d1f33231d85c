"""The management API on a real PostgreSQL: what is shown, what can be changed, who may, and what bad input gets."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mesh_runtime.health import Health
from mesh_runtime.testing import ALL_SCOPES, StaticVerifier
from pwsh_gateway import main
from support.gateway import TENANT, ZOE, Gateway, Script, assign, command, make_gateway
from support.waiting import eventually

NOBODY = uuid.UUID(int=0)


@dataclass
class Api:
    gateway: Gateway
    script: Script
    client: httpx.AsyncClient

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def api(postgres_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    script = Script(tmp_path)
    script.users(**{ZOE: {"Identity": "id-zoe", "LineURI": None}})
    gateway = await make_gateway(postgres_url, script.command(), tmp_path)
    await gateway.give_credential()
    verifier = StaticVerifier({"admin": ALL_SCOPES, "reader": frozenset({"mesh.read"}), "nobody": frozenset()})
    app = main.build_api(gateway.parts, verifier, Health({}))
    transport = httpx.ASGITransport(app=app)
    headers = {"authorization": "Bearer admin"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
        yield Api(gateway, script, client)
    await gateway.db.close()


async def test_sessions_and_executions_can_be_found(api: Api) -> None:
    payload = assign()
    async with api.gateway.running():
        await api.gateway.do_all(payload, command("teams.user.get"))
        (session,) = (await api.get("/sessions", state="idle", tenant_id=TENANT))["items"]
        assert session["module"] == "MicrosoftTeams"
        assert session["customer"] == "northwind"
        assert session["pid"]
        assert (await api.get(f"/sessions/{session['session_id']}"))["session_id"] == session["session_id"]
    metrics = (await api.client.get("/metrics")).text
    assert "ucmesh_pwsh_queue_depth" in metrics
    assert 'ucmesh_pwsh_executions_total{cmdlet="Set-CsPhoneNumberAssignment",outcome="succeeded"}' in metrics
    executions = (await api.get("/executions", session_id=session["session_id"]))["items"]
    assert len(executions) == 3
    mine = (await api.get("/executions", operation_id=payload["operation_id"]))["items"]
    assert [item["cmdlet"] for item in mine] == ["Set-CsPhoneNumberAssignment", "Get-CsOnlineUser"]
    assert mine[0]["params"]["TelephoneNumber"] == payload["params"]["telephone_number"]
    assert (await api.get(f"/executions/{mine[0]['execution_id']}")) == mine[0]


async def test_lists_page_by_key(api: Api) -> None:
    async with api.gateway.running():
        for _ in range(5):
            await api.gateway.do("teams.user.get")
    seen: list[str] = []
    after = None
    while True:
        page = await api.get("/executions", limit=2, **({"after": after} if after else {}))
        seen += [item["execution_id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


async def test_a_session_can_be_ended(api: Api) -> None:
    async with api.gateway.running():
        await api.gateway.do("teams.user.get")
        (session,) = (await api.get("/sessions", state="idle"))["items"]
        answer = await api.client.delete(f"/sessions/{session['session_id']}")
        assert answer.status_code == 202

        async def dead() -> bool:
            shown = await api.get(f"/sessions/{session['session_id']}")
            return bool(shown["state"] == "dead" and shown["reason"] == "terminated by admin")

        await eventually(dead)
        assert (await api.get("/sessions"))["items"] == []
        for state in ("dead", "all"):
            assert [item["session_id"] for item in (await api.get("/sessions", state=state))["items"]] == [
                session["session_id"]
            ]
    again = await api.client.delete(f"/sessions/{session['session_id']}")
    assert again.status_code == 404


async def test_settings_are_changed_with_a_history(api: Api) -> None:
    before = await api.get("/config")
    assert before["values"]["concurrency.global_max"] == 12
    assert "sessions" in before["meanings"]["concurrency.global_max"]
    changed = await api.client.patch("/config", json={"concurrency.global_max": 4})
    assert changed.json()["values"]["concurrency.global_max"] == 4
    await api.client.patch("/config", json={"session.idle_seconds_max": 60})
    assert (await api.get("/config"))["values"]["concurrency.global_max"] == 4
    history = await api.get("/config/history")
    assert [entry["changes"] for entry in history] == [{"session.idle_seconds_max": 60}, {"concurrency.global_max": 4}]
    assert history[0]["actor"] == "admin"
    older = await api.get("/config/history", before=history[0]["number"])
    assert [entry["number"] for entry in older] == [history[1]["number"]]


async def test_settings_take_effect_while_it_runs(api: Api) -> None:
    async with api.gateway.running() as worker:
        await api.client.patch("/config", json={"concurrency.global_max": 3})
        await eventually(lambda: worker.config().concurrency_global_max == 3)


async def test_error_rules_are_shown_tried_and_replaced(api: Api) -> None:
    rules = await api.get("/error-rules")
    assert len(rules) > 20
    error = {"module": "MicrosoftTeams", "message": "Telephone Number '+1' has already been assigned to another user"}
    tried = await api.client.post("/error-rules/try", json=error)
    assert tried.json()["code"] == "number-taken"
    first = {**rules[0], "id": "mine", "match": {"message": ["already been assigned"]}, "code": "ours"}
    replaced = await api.client.put("/error-rules", json=[first, *rules])
    assert replaced.status_code == 200
    assert (await api.client.post("/error-rules/try", json=error)).json()["rule"] == "mine"


async def test_the_catalogue_and_credentials_are_shown_without_secrets(api: Api) -> None:
    operations = await api.get("/operations")
    assign_entry = next(entry for entry in operations if entry["operation"] == "teams.number.assign")
    assert assign_entry["params"]["number_type"]["values"] == ["DirectRouting", "CallingPlan", "OperatorConnect"]
    credentials = await api.get("/credentials", tenant_id=TENANT.upper())
    assert credentials[0]["state"] == "active"
    assert "s3cret" not in str(credentials)
    assert not {"pfx", "password", "sealed"} & set(credentials[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/sessions/not-a-uuid", None, 422, None),
        ("GET", f"/sessions/{NOBODY}", None, 404, "not-found"),
        ("DELETE", f"/sessions/{NOBODY}", None, 404, "not-found"),
        ("GET", f"/executions/{NOBODY}", None, 404, "not-found"),
        ("GET", "/executions?after=garbage", None, 422, "cursor-invalid"),
        ("GET", "/executions?limit=0", None, 422, None),
        ("GET", "/executions?limit=501", None, 422, None),
        ("GET", "/sessions?module=ActiveDirectory", None, 422, None),
        ("PATCH", "/config", {"concurrency.global_max": "many"}, 422, "invalid-setting"),
        ("PATCH", "/config", {"no.such": 1}, 422, "unknown-setting"),
        ("PATCH", "/config", [1], 422, None),
        ("PUT", "/error-rules", [{"id": "x"}], 422, "invalid-rules"),
        ("PUT", "/error-rules", {"id": "x"}, 422, None),
        ("POST", "/error-rules/try", {"message": "x"}, 422, None),
        ("GET", "/credentials", None, 422, None),
        ("GET", "/dead-letters", None, 200, None),
    ],
)
async def test_bad_input_gets_a_problem_document(
    api: Api, method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    answer = await api.client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert code is None or answer.json()["code"] == code


@pytest.mark.parametrize(
    ("method", "path", "reader"),
    [
        ("GET", "/sessions", 200),
        ("GET", "/executions", 200),
        ("GET", "/config", 200),
        ("GET", "/config/history", 200),
        ("GET", "/error-rules", 200),
        ("GET", "/operations", 200),
        ("GET", f"/credentials?tenant_id={TENANT}", 200),
        ("DELETE", f"/sessions/{NOBODY}", 403),
        ("PATCH", "/config", 403),
        ("PUT", "/error-rules", 403),
    ],
)
async def test_every_door_asks_who_is_there(api: Api, method: str, path: str, reader: int) -> None:
    body = [] if method == "PUT" else {} if method == "PATCH" else None
    unknown = await api.client.request(method, path, json=body, headers={"authorization": ""})
    assert unknown.status_code == 401
    nobody = await api.client.request(method, path, json=body, headers={"authorization": "Bearer nobody"})
    assert nobody.status_code == 403
    answer = await api.client.request(method, path, json=body, headers={"authorization": "Bearer reader"})
    assert answer.status_code == reader
