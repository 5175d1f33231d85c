"""The HTTP face: who gets in, how errors look, and what is measured."""

import re
import subprocess
import sys
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from mesh_runtime import problems, telemetry
from mesh_runtime.auth import Principal, require
from mesh_runtime.errors import Conflict, Refused, Unavailable
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.testing import StaticVerifier

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
READER = {"Authorization": "Bearer reader"}

router = APIRouter(prefix="/things", tags=["things"])
Reader = Annotated[Principal, Depends(require("mesh.read"))]


class Thing(BaseModel):
    name: str = Field(max_length=5)
    count: int = 1


@router.get("/crash")
async def crash() -> None:
    raise RuntimeError("hunter2")


@router.get("/no/{kind}")
async def no(kind: str) -> None:
    raise {
        "refused": Refused("no seats", code="no-seats", remedy="buy some", detail={"sku": "E5"}),
        "conflict": Conflict("changed"),
        "away": Unavailable("database away", detail={"retry_after_seconds": 3}),
    }[kind]


@router.get("/{thing_id}", summary="Show a thing")
async def show(thing_id: int, caller: Reader) -> dict[str, object]:
    return {"id": thing_id, "caller": caller.subject}


@router.post("/{thing_id}")
async def change(thing_id: int, thing: Thing) -> Thing:
    return thing


@router.delete("/{thing_id}")
async def delete(thing_id: int, _: Annotated[Principal, Depends(require("mesh.read", "mesh.admin"))]) -> None:
    return None


@pytest.fixture
def health():
    return Health({})


@pytest.fixture
async def client(health):
    verifier = StaticVerifier({"reader": frozenset({"mesh.read"}), "nobody": frozenset()})
    app = create_app(
        title="Sample <api>",
        version="1.0",
        description="For tests",
        verifier=verifier,
        health=health,
        routers=[router],
        body_bytes_max=1000,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sample", headers=READER) as client:
        yield client


@pytest.fixture
async def stranger(client):
    """The same app, asked without a token."""
    async with httpx.AsyncClient(transport=client._transport, base_url="http://sample") as stranger:
        yield stranger


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status
    assert response.headers["content-type"] == problems.MEDIA_TYPE
    document = response.json()
    problems.Problem.model_validate(document)
    assert (document["status"], document["code"], document["type"]) == (status, code, f"urn:ucmesh:problem:{code}")
    return document


async def test_a_route_gets_its_principal(client):
    response = await client.get("/things/7")
    assert (response.status_code, response.json()) == (200, {"id": 7, "caller": "reader"})
    assert response.headers["cache-control"] == "no-store"


async def test_without_a_token_nobody_gets_in(stranger):
    response = await stranger.get("/things/7")
    problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == 'Bearer realm="ucmesh"'
    response = await stranger.get("/things/7", headers={"Authorization": "Bearer forged"})
    problem(response, 401, "token-invalid")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    for value in ("Basic cmVhZGVyOng=", "Bearer", "Bearer  ", "reader", "\u00e9"):
        headers = {"Authorization": value.encode("latin-1")}
        problem(await stranger.get("/things/7", headers=headers), 401, "unauthenticated")


async def test_a_route_that_forgot_to_ask_is_not_open(stranger):
    problem(await stranger.get("/things/no/refused"), 401, "unauthenticated")
    problem(await stranger.get("/nothing"), 401, "unauthenticated")


async def test_nobody_makes_us_read_a_body_without_a_token(stranger):
    sent = []

    async def body():
        for _ in range(10):
            sent.append(1)
            yield b"{"

    response = await stranger.post("/things/1", content=body(), headers={"content-type": "application/json"})
    problem(response, 401, "unauthenticated")
    assert (sent, response.headers["connection"]) == ([], "close")


async def test_an_issuer_that_is_away_is_not_a_no(health):
    class Away:
        async def verify(self, token: str) -> Principal:
            raise Unavailable("the issuer is away", code="issuer-unavailable")

    app = create_app(title="x", version="1", description="x", verifier=Away(), health=health, routers=[])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=READER) as client:
        problem(await client.get("/metrics"), 503, "issuer-unavailable")


async def test_a_missing_scope_is_named(client):
    response = await client.delete("/things/7")
    document = problem(response, 403, "scope-missing")
    assert "mesh.admin" in document["detail"]
    assert "mesh.read" not in document["detail"]
    assert 'scope="mesh.admin"' in response.headers["www-authenticate"]


async def test_access_is_decided_before_the_request_is_judged(stranger):
    problem(await stranger.get("/things/not-a-number"), 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/docs"])
async def test_operator_pages_need_a_token(client, stranger, path):
    problem(await stranger.get(path), 401, "unauthenticated")
    assert (await client.get(path, headers={"Authorization": "Bearer nobody"})).status_code == 200


async def test_fastapi_s_own_pages_are_off(client):
    for path in ("/redoc", "/docs/oauth2-redirect"):
        problem(await client.get(path), 404, "not-found")


async def test_health_is_open_and_follows_start_up(stranger, health):
    assert (await stranger.get("/health/live")).json() == {"status": "live"}
    assert (await stranger.get("/health/startup")).status_code == 503
    assert (await stranger.get("/health/ready")).status_code == 503
    health.started()
    assert (await stranger.get("/health/startup")).status_code == 200
    assert (await stranger.get("/health/ready")).json() == {"status": "ready", "checks": {}}


async def test_our_errors_keep_code_remedy_and_facts(client):
    document = problem(await client.get("/things/no/refused"), 409, "no-seats")
    assert (document["title"], document["detail"], document["remedy"]) == ("Refused", "no seats", "buy some")
    assert (document["instance"], document["context"]) == ("/things/no/refused", {"sku": "E5"})
    assert document["retryable"] is False
    response = await client.get("/things/no/away")
    assert problem(response, 503, "unavailable")["retryable"] is True
    assert response.headers["retry-after"] == "3"


async def test_an_unknown_exception_tells_the_caller_nothing(client):
    response = await client.get("/things/crash")
    document = problem(response, 500, "internal")
    assert "hunter2" not in response.text
    assert document["title"] == "Internal error"


async def test_every_wrong_part_of_a_request_is_listed_without_its_value(client):
    response = await client.post("/things/x", json={"name": "hunter2", "count": "many"})
    document = problem(response, 422, "invalid-input")
    assert [entry["location"] for entry in document["errors"]] == ["path/thing_id", "body/name", "body/count"]
    assert "hunter2" not in response.text
    assert "3 parts" in document["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
async def test_a_body_that_is_not_the_json_we_need_is_invalid_input(client, body):
    response = await client.post("/things/1", content=body, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == problems.MEDIA_TYPE


async def test_unknown_paths_and_methods_are_problems_too(client):
    problem(await client.get("/nothing"), 404, "not-found")
    response = await client.put("/things/7")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "DELETE, GET, POST"


async def test_a_body_beyond_the_limit_is_refused_by_its_declared_length(client):
    problem(await client.post("/things/1", json={"name": "x" * 2000}), 413, "too-large")


async def test_a_body_beyond_the_limit_is_refused_while_it_arrives(client):
    sent = []

    async def endless():
        while True:
            sent.append(1)
            yield b"x" * 400

    problem(
        await client.post("/things/1", content=endless(), headers={"content-type": "application/json"}),
        413,
        "too-large",
    )
    assert len(sent) <= 4


async def test_a_request_continues_the_caller_s_trace_and_errors_name_it(client):
    with telemetry.recording() as spans:
        await client.get("/things/7", headers={"traceparent": TRACE})
        response = await client.get("/things/no/refused", headers={"traceparent": TRACE})
    (shown,) = spans.named("GET /things/{thing_id}")
    assert format(shown.context.trace_id, "032x") == TRACE.split("-")[1] == response.json()["trace_id"]
    assert shown.attributes["http.route"] == "/things/{thing_id}"
    assert shown.attributes["http.response.status_code"] == 200


async def test_requests_are_measured_by_route_never_by_path(client):
    await client.get("/things/123456")
    await client.get("/nobody/knows/98765")
    metrics = (await client.get("/metrics")).text
    assert 'ucmesh_http_requests_total{method="GET",route="/things/{thing_id}",status="200"}' in metrics
    assert 'route="unmatched",status="404"' in metrics
    routes = "".join(re.findall(r'route="([^"]*)"', metrics))
    assert "123456" not in routes
    assert "98765" not in routes


async def test_the_api_describes_itself(client):
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/things/{thing_id}"]["get"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert set(operation["responses"]) >= {"200", "401", "403", "422", "503"}
    assert problems.MEDIA_TYPE in operation["responses"]["401"]["content"]
    assert "/metrics" not in document["paths"]
    page = (await client.get("/docs")).text
    assert "Sample &lt;api&gt;" in page
    assert "Show a thing" in page
    assert "<script" not in page


def test_the_caller_s_trace_goes_on_where_this_process_does_not_trace():
    code = f"""
import asyncio, httpx
from fastapi import APIRouter
from mesh_runtime import telemetry
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.testing import StaticVerifier

router = APIRouter()

@router.get("/parent")
async def parent() -> str | None:
    return telemetry.current_traceparent()

app = create_app(
    title="x", version="1", description="x", verifier=StaticVerifier(), health=Health(), routers=[router]
)

async def main():
    transport, token = httpx.ASGITransport(app), {{"Authorization": "Bearer test"}}
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=token) as client:
        for headers in ({{"traceparent": "{TRACE}"}}, {{}}):
            print((await client.get("/parent", headers=headers)).json())

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == [TRACE, "None"]
