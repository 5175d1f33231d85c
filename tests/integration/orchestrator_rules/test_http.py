"""The HTTP API: intake in its three modes, configuration, lists by key, problem documents."""

import base64

import httpx
import orjson
import pytest

from mesh_runtime.auth import Principal
from mesh_runtime.errors import Unauthenticated
from mesh_runtime.health import Health
from orchestrator.main import make_app
from support.plan_script import TENANT
from support.rules_customer import document, hr_data, hr_event

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
ALL_SCOPES = "mesh.read mesh.write mesh.admin hr.write"


class TokenIsScopes:
    """A token says its scopes in clear; for tests only."""

    async def verify(self, token):
        if token == "bad":
            raise Unauthenticated("no such token")
        return Principal("tester", frozenset(token.split("+")))


@pytest.fixture
async def client(office):
    health = Health({"database": office.db.ping})
    health.started()
    app = make_app(office.parts, office.db, TokenIsScopes(), health, lambda tenant, secret: f"sealed:{len(secret)}")
    transport = httpx.ASGITransport(app)
    headers = {"authorization": f"Bearer {ALL_SCOPES.replace(' ', '+')}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://mesh", headers=headers) as client:
        yield client


def structured(employee_id="NW-1", **fields):
    event = hr_event(employee_id, **fields)
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": employee_id,
        "data": orjson.loads(event.data),
    }


async def send(client, body, kind=STRUCTURED):
    return await client.post("/hr/events", content=orjson.dumps(body), headers={"content-type": kind})


async def test_an_event_is_taken_in_structured_binary_and_batch_mode(client, office):
    await office.open_business()
    first = await send(client, structured("NW-1"))
    assert first.status_code == 202, first.text
    headers = {"ce-specversion": "1.0", "ce-id": "b", "ce-source": "/hr/northwind", "content-type": "application/json"}
    headers["ce-type"] = "ucmesh.hr.person.v1.joined"
    second = await client.post("/hr/events", content=orjson.dumps(hr_data("NW-2")), headers=headers)
    assert second.json()["results"][0]["status"] == "accepted", second.text
    third = await send(client, [structured("NW-3"), structured("NW-1"), {"specversion": "1.0"}], BATCH)
    assert [each["status"] for each in third.json()["results"]] == ["accepted", "duplicate", "dead-lettered"]
    listed = (await client.get("/people", params={"customer": "northwind"})).json()
    assert [each["employee_id"] for each in listed["items"]] == ["NW-1", "NW-2", "NW-3"]


async def test_a_single_bad_event_is_a_problem_document_that_names_the_field(client, office):
    await office.open_business()
    bad = structured()
    del bad["data"]["person"]["surname"]
    answer = await send(client, bad)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "hr-event-invalid"
    assert "/person/surname" in problem["detail"]
    assert problem["remedy"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"hello", 422),
        (STRUCTURED, b"{", 422),
        (BATCH, b"{}", 422),
        (STRUCTURED, b"[]", 422),
        (BATCH, b"[]", 202),
        (BATCH, b"[1, null]", 202),
    ],
)
async def test_the_intake_survives_whatever_is_sent(client, office, content_type, body, status):
    await office.open_business()
    answer = await client.post("/hr/events", content=body, headers={"content-type": content_type})
    assert answer.status_code == status, answer.text


async def test_intake_needs_its_own_scope(client):
    reader = {"authorization": "Bearer mesh.read"}
    denied = await client.post("/hr/events", content=b"{}", headers={"content-type": STRUCTURED} | reader)
    assert denied.status_code == 403
    assert (await client.get("/customers", headers={"authorization": "Bearer bad"})).status_code == 401
    assert (await client.put("/customers/northwind", json=document(), headers=reader)).status_code == 403


async def test_applying_a_customer_reports_the_difference_and_registers_its_tenant(client, office):
    first = (await client.put("/customers/northwind", json=document())).json()
    assert first["changed"]
    assert first["registering"] == [TENANT]
    assert first["tenants"][0]["state"] == "registering"
    again = (await client.put("/customers/northwind", json=document())).json()
    assert (again["changed"], again["version"]) == (False, 1)
    shown = (await client.get("/customers/northwind")).json()
    assert shown["applied_by"] == "tester"
    assert "first-secret" not in str(shown)
    assert shown["document"]["sites"][0]["site"] == "zurich"


async def test_a_faulty_configuration_names_every_field(client):
    faulty = document()
    faulty["filters"][2]["rows"][0]["value"] = "("
    faulty["sites"][0]["move"] = "nowhere"
    answer = await client.put("/customers/northwind", json=faulty)
    assert answer.status_code == 422
    problem = answer.json()
    assert [error["location"] for error in problem["errors"]] == ["body/sites/0/move", "body/filters/2/rows/0/value"]
    misspelt = document()
    misspelt["sites"][0]["timezone"] = "x"
    answer = await client.put("/customers/northwind", json=misspelt)
    assert answer.json()["errors"][0]["location"] == "body/sites/0/timezone"
    assert (await client.put("/customers/contoso", json=document())).status_code == 422


async def test_unknown_things_are_problem_documents(client):
    for path in (
        "/customers/nobody",
        "/customers/nobody/numbers",
        "/customers/nobody/seats",
        "/people/northwind/NW-1",
        "/tenants/nowhere/capabilities",
    ):
        answer = await client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["code"].endswith("-not-found")
    assert (await client.get("/people", params={"after": "garbage"})).status_code == 422


@pytest.mark.parametrize(
    ("path", "cursor"),
    [
        ("/customers", b'["\\u0000"]'),
        ("/customers/northwind/numbers", b'["\\u0000"]'),
        ("/customers/northwind/seats", b'["a", "\\u0000"]'),
        ("/customers/northwind/history", b'[1180591620717411303424, "a", "b"]'),
        ("/customers/northwind/history", b'[1, "\\u0000", "b"]'),
        ("/people", b'["a", "b", "c"]'),
    ],
)
async def test_forged_cursors_are_refused(client, office, path, cursor):
    await office.open_business()
    forged = base64.urlsafe_b64encode(cursor).decode()
    assert (await client.get(path, params={"after": forged})).status_code == 422
    assert (await client.get(path, params={"after": "x" * 2000})).status_code == 422


@pytest.mark.parametrize("path", ["/customers/%00", "/people/%00/%00", "/tenants/%00", "/people?status=%00"])
async def test_names_that_cannot_exist_are_refused(client, path):
    assert (await client.get(path)).status_code == 422


async def test_a_batch_of_one_bad_event_keeps_it_aside(client, office):
    await office.open_business()
    bad = structured()
    bad["data"]["person"]["surname"] = "M\x00ller"
    [result] = (await send(client, [bad], BATCH)).json()["results"]
    assert result["status"] == "dead-lettered"
    assert "NUL" in result["reason"]


async def test_lists_page_by_key(client, office):
    await office.open_business()
    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = (await client.get("/customers/northwind/numbers", params=params)).json()
        seen += [each["number"] for each in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [*[f"+4144555100{n}" for n in range(5)], "+493023125100"]
    seats = (await client.get("/customers/northwind/seats", params={"limit": 1})).json()
    more = (await client.get("/customers/northwind/seats", params={"limit": 1, "after": seats["next"]})).json()
    assert {seats["items"][0]["part_number"], more["items"][0]["part_number"]} == {"SPE_E3", "SPE_E5"}
    assert more["next"] is None
    history = (await client.get("/customers/northwind/history", params={"limit": 5})).json()
    rest = (await client.get("/customers/northwind/history", params={"limit": 500, "after": history["next"]})).json()
    assert len(history["items"]) + len(rest["items"]) == 12


async def test_a_person_shows_desired_against_observed_with_plans(client, office):
    await office.open_business()
    await send(client, structured())
    await office.run()
    shown = (await client.get("/people/northwind/NW-1")).json()
    assert shown["status"] == "provisioned"
    assert shown["user_principal_name"] == "zoe.muller@northwind.example"
    assert shown["licences"] == ["SPE_E5"]
    lines = {(line["workload"], line["item"]): line for line in shown["lines"]}
    assert lines["teams", "number"]["observed"] == "+41445551000"
    assert {line["verdict"] for line in shown["lines"]} == {"same"}
    assert [plan["state"] for plan in shown["plans"]] == ["succeeded"]
    numbers = (await client.get("/customers/northwind/numbers", params={"status": "used"})).json()
    assert numbers["items"][0]["employee_id"] == "NW-1"


async def test_a_preview_writes_nothing(client, office):
    await office.open_business()
    answer = await client.post("/plans/preview", json={"customer": "northwind", "event": hr_data()})
    assert answer.status_code == 200, answer.text
    assert "user.ensure" in answer.text
    assert await office.rows("SELECT count(*) FROM person") == [(0,)]
    assert await office.rows("SELECT count(*) FROM number WHERE status <> 'available'") == [(0,)]
    nowhere = await client.post("/plans/preview", json={"customer": "northwind", "event": hr_data(city="Oslo")})
    assert "site-unknown" in nowhere.text
    unknown = await client.post("/plans/preview", json={"customer": "nobody", "event": hr_data(customer="nobody")})
    assert unknown.status_code == 404


async def test_a_preview_of_somebody_finished_is_an_empty_plan_on_what_was_read(client, office):
    await office.open_business()
    await send(client, structured())
    await office.run()
    same = (await client.post("/plans/preview", json={"customer": "northwind", "event": hr_data()})).json()
    assert same["operations"] == []
    assert same["observed_at"] is not None
    other = hr_data(sequence=2, job_title="Lead")
    changed = (await client.post("/plans/preview", json={"customer": "northwind", "event": other})).json()
    assert [operation["key"] for operation in changed["operations"]] == ["user", "verify-entra"]
    assert (await office.person()).facts.get("job_title") is None


async def test_a_tenant_is_tested_and_shows_what_it_may_do(client, office):
    await office.open_business()
    office.clock.advance(1)
    tested = (await client.post(f"/customers/northwind/tenants/{TENANT}/test", params={"wait_seconds": 0})).json()
    assert (tested["state"], tested["fresh"]) == ("ready", False)
    assert (await office.answer()) == 1
    capabilities = (await client.get(f"/tenants/{TENANT}/capabilities")).json()
    assert capabilities["operations"]["user.ensure"] == {"allowed": True, "missing": []}
    stranger = await client.post("/customers/northwind/tenants/00000000-0000-4000-8000-000000000000/test")
    assert stranger.status_code == 404


async def test_the_api_document_describes_every_route(client):
    api = (await client.get("/openapi.json")).json()
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), f"{method} {path}"
    used = {
        tag for operations in api["paths"].values() for operation in operations.values() for tag in operation["tags"]
    }
    assert used - {"health"} <= {tag["name"] for tag in api["tags"]}
    intake = api["paths"]["/hr/events"]["post"]["requestBody"]["content"]
    assert set(intake) == {STRUCTURED, BATCH, "application/json"}
