"""The plan endpoints: who may, what they answer, how lists page."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from mesh_runtime.errors import InvalidInput, NotFound
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.testing import StaticVerifier
from orchestrator.domain.ports import PlanningRequest, PreviewSubject, Refusal
from orchestrator.entrypoints.http_plans import PlanDoors, router
from support.plan_mesh import PlanMesh, joiner
from support.plan_script import TENANT, Behaviour, op

READER = {"Authorization": "Bearer reader"}
WRITER = {"Authorization": "Bearer writer"}


class Source:
    """The rules' half of a preview; writes something, to see that it is rolled back."""

    async def prepare(self, tx, customer, event):
        if customer != "northwind":
            raise NotFound("there is no such customer")
        if "employee_id" not in event:
            raise InvalidInput("employee_id is missing")
        await tx.execute(text("INSERT INTO gate_lag VALUES ('t', 'preview', 1, 1, now())"))
        if event["employee_id"] == "NW-0":
            return Refusal("site-unknown", "no site fits", "add a filter")
        return PreviewSubject(PlanningRequest(UUID(int=1), UUID(int=2), {}), "zurich", "desk")


@pytest.fixture
def mesh(db):
    behaviours = {"user": Behaviour(), "licence": Behaviour(), "number": Behaviour(outcome="refused")}
    return PlanMesh(db, joiner, behaviours)


@pytest.fixture
async def client(mesh):
    app = create_app(
        title="orchestrator",
        version="1",
        description="x",
        verifier=StaticVerifier({"reader": frozenset({"mesh.read"}), "writer": frozenset({"mesh.read", "mesh.write"})}),
        health=Health({}),
        routers=[router(PlanDoors(mesh.engine, mesh.readings, Source(), mesh.db))],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x", headers=READER) as made:
        yield made


async def test_a_compensated_plan_is_shown_with_everything_an_admin_asks(mesh, client):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    [plan_id] = await mesh.start(mesh.start_request(traceparent=trace))
    await mesh.run_to_end()
    plan = (await client.get(f"/plans/{plan_id}")).json()
    assert plan["state"] == "compensated"
    assert plan["reason"] == {"code": "no", "message": "number: no", "remedy": None}
    assert plan["operations"] == {"total": 5, "succeeded": 2, "failed": 1}
    assert plan["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert plan["effects"] == {"site": "zurich"}
    operations = {each["key"]: each for each in (await client.get(f"/plans/{plan_id}/operations")).json()}
    assert list(operations) == ["observe", "user", "licence", "group", "number"]
    assert operations["licence"]["state"] == "compensated"
    assert operations["licence"]["undo"]["operation"] == "undo.licence"
    assert operations["number"]["error"]["code"] == "no"
    assert operations["user"]["request_ids"]
    assert operations["user"]["dispatches"] == 2


async def test_lists_page_by_key_newest_first_and_filter(mesh, client):
    requests = [mesh.start_request(f"NW-{n}", customer="northwind" if n % 2 else "fabrikam") for n in range(7)]
    await mesh.start(*requests)
    seen, after = [], None
    while True:
        page = (await client.get("/plans", params={"limit": 3, **({"after": after} if after else {})})).json()
        seen += [item["plan_id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [str(request.plan_id) for request in reversed(requests)]
    only = (await client.get("/plans", params={"customer": "fabrikam", "state": "observing"})).json()["items"]
    assert [item["employee_id"] for item in only] == ["NW-6", "NW-4", "NW-2", "NW-0"]
    assert (await client.get("/plans", params={"employee_id": "NW-3"})).json()["items"][0]["customer"] == "northwind"
    assert (await client.get("/plans", params={"state": "held"})).json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    "query", ["after=garbage", "after=WyIxIl0", "state=done", "limit=0", "limit=501", "customer=%00", "employee_id=%00"]
)
async def test_bad_queries_are_refused(client, query):
    answer = await client.get(f"/plans?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_retry_and_cancel_need_the_write_scope_and_a_fitting_plan(mesh, client):
    [plan_id] = await mesh.start(mesh.start_request())
    assert (await client.post(f"/plans/{plan_id}/cancel")).status_code == 403
    assert (await client.post(f"/plans/{plan_id}/retry", headers=WRITER)).status_code == 409
    cancelled = await client.post(f"/plans/{plan_id}/cancel", headers=WRITER)
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    retried = await client.post(f"/plans/{plan_id}/retry", headers=WRITER)
    assert (retried.status_code, retried.json()["state"]) == (202, "observing")
    assert (await client.get(f"/plans/{plan_id}")).json()["tries"] == 2


async def test_unknown_plans_and_strangers(client):
    missing = f"/plans/{UUID(int=9)}"
    assert (await client.get(missing)).json()["code"] == "plan-not-found"
    assert (await client.get(f"{missing}/operations")).status_code == 404
    assert (await client.post(f"{missing}/cancel", headers=WRITER)).status_code == 404
    assert (await client.get("/plans/not-an-id")).status_code == 422
    assert (await client.get("/plans", headers={"Authorization": "Bearer nobody"})).status_code == 401


async def test_a_preview_shows_the_plan_and_writes_nothing(mesh, client, db):
    mesh.rules.operations = lambda _request: [
        op("user", permission="User.ReadWrite.All", before="no user", after="zoe@northwind.example"),
        op("number", "user", target="pwsh", after="+41445551000"),
    ]
    body = {"customer": "northwind", "event": {"employee_id": "NW-1"}}
    preview = (await client.post("/plans/preview", json=body)).json()
    assert preview["refusal"] is None
    assert (preview["site"], preview["profile"], preview["tenant_id"]) == ("zurich", "desk", TENANT)
    assert preview["permissions"] == ["User.ReadWrite.All"]
    assert [(each["before"], each["after"]) for each in preview["operations"]] == [
        ("no user", "zoe@northwind.example"),
        (None, "+41445551000"),
    ]
    async with db.read() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM gate_lag"))).scalar_one() == 0
    assert await mesh.collect() == []


async def test_a_preview_shows_refusals_of_intake_and_of_planning(mesh, client):
    body = {"customer": "northwind", "event": {"employee_id": "NW-0"}}
    assert (await client.post("/plans/preview", json=body)).json()["refusal"]["code"] == "site-unknown"
    mesh.rules.operations = lambda _request: Refusal("no-seats", "none left", "buy some")
    body["event"] = {"employee_id": "NW-1"}
    assert (await client.post("/plans/preview", json=body)).json()["refusal"]["remedy"] == "buy some"


async def test_bad_previews_are_refused(client):
    assert (await client.post("/plans/preview", json={"customer": "other", "event": {}})).status_code == 404
    assert (await client.post("/plans/preview", json={"customer": "northwind", "event": {}})).status_code == 422
    assert (await client.post("/plans/preview", json={"customer": "northwind"})).status_code == 422
    assert (await client.post("/plans/preview", content=b"{")).status_code == 422
