"""The HTTP API: access, lists by page, one operation, capabilities, templates, reload."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from graph_adapter.adapters.templates import load_catalogue
from graph_adapter.application.reload_templates import TemplateShelf
from graph_adapter.entrypoints import http
from mesh_messaging.deadletters_http import router as dead_letters_router
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.testing import ALL_SCOPES, StaticVerifier
from support.graph_rig import Rig, ensure
from support.simulated import Tenant


@pytest.fixture
async def api(rig: Rig, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    shelf = TemplateShelf(lambda: load_catalogue(tmp_path))
    app = create_app(
        title="t",
        version="1",
        description="d",
        verifier=StaticVerifier({"all": ALL_SCOPES, "reader": frozenset({"mesh.read"})}),
        health=Health(),
        routers=[
            http.operations_router(rig.store),
            http.tenants_router(rig.store, shelf),
            http.templates_router(shelf),
            dead_letters_router(rig.db),
        ],
    )
    transport = httpx.ASGITransport(app)
    headers = {"authorization": "Bearer all"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/operations"), ("GET", f"/operations/{uuid.uuid4()}"), ("GET", "/templates"),
        ("GET", f"/tenants/{uuid.uuid4()}/capabilities"), ("POST", "/templates/reload"), ("GET", "/dead-letters"),
    ],
)  # fmt: skip
async def test_nothing_is_open(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, path, headers={"authorization": ""})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_operations_page_by_key_without_what_they_carry(api: httpx.AsyncClient, rig: Rig, tenant: Tenant) -> None:
    orders = [rig.order(tenant, "user.ensure", ensure(tenant, f"user{number}")) for number in range(5)]
    await rig.send(*orders)
    await rig.replies(orders)
    seen: list[str] = []
    after: str | None = None
    for _ in range(10):
        query = {"tenant_id": tenant.tenant_id, "limit": "2"} | ({"after": after} if after else {})
        page = (await api.get("/operations", params=query)).json()
        assert all("params" not in item and "reply" not in item for item in page["items"])
        seen += [item["operation_id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(seen) == sorted(order["operation_id"] for order in orders)
    done = await api.get("/operations", params={"tenant_id": tenant.tenant_id, "state": "queued"})
    assert done.json() == {"items": [], "next": None}


async def test_one_operation_with_everything(api: httpx.AsyncClient, rig: Rig, tenant: Tenant) -> None:
    order = rig.order(tenant, "user.get", {"user": "nobody@n.example"})
    await rig.send(order)
    await rig.reply(order["operation_id"])
    shown = (await api.get(f"/operations/{order['operation_id']}")).json()
    assert shown["params"] == {"user": "nobody@n.example"}
    assert (shown["state"], shown["outcome"], shown["error_code"]) == ("done", "refused", "user-not-found")
    assert shown["reply"]["error"]["code"] == "user-not-found"
    assert (await api.get(f"/operations/{uuid.uuid4()}")).status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=9999", "state=lost", "tenant_id=northwind", "after=nonsense"])
async def test_bad_queries_are_refused(api: httpx.AsyncClient, query: str) -> None:
    answer = await api.get(f"/operations?{query}")
    assert answer.status_code == 422
    assert answer.json()["code"]


async def test_capabilities_of_a_tenant(api: httpx.AsyncClient, rig: Rig, tenant: Tenant) -> None:
    unknown = await api.get(f"/tenants/{uuid.uuid4()}/capabilities")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "capabilities-unknown")
    await rig.succeed(tenant, "tenant.probe", {})
    shown = (await api.get(f"/tenants/{tenant.tenant_id.upper()}/capabilities")).json()
    assert shown["tenant_id"] == tenant.tenant_id
    assert "User.ReadWrite.All" in shown["roles"]
    assert shown["operations"]["licence.assign"] == {"allowed": True, "missing": []}


async def test_templates_are_shown_and_reloaded(api: httpx.AsyncClient, tmp_path: Path) -> None:
    before = (await api.get("/templates")).json()
    assert {"user.ensure", "licence.assign"} <= {item["operation"] for item in before["items"]}
    shown = (await api.get("/templates/user.ensure/1")).json()
    assert shown["permissions"] == [["User.ReadWrite.All", "Directory.ReadWrite.All"]]
    assert shown["parameters"]["attributes"] == "object"
    assert (await api.get("/templates/user.ensure/7")).status_code == 404

    (tmp_path / "user.rename@1.yaml").write_text("operation: user.rename")
    broken = await api.post("/templates/reload")
    assert (broken.status_code, broken.json()["code"]) == (422, "templates-invalid")
    assert (await api.get("/templates")).json() == before
    reader = await api.post("/templates/reload", headers={"authorization": "Bearer reader"})
    assert (reader.status_code, reader.json()["code"]) == (403, "scope-missing")
    (tmp_path / "user.rename@1.yaml").unlink()
    assert (await api.post("/templates/reload")).json()["fingerprint"] == before["fingerprint"]


async def test_the_document_describes_every_route(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
