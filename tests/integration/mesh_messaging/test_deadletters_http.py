"""Dead letters over HTTP: who may do what, and how each answer looks."""

import uuid
from typing import Any

import httpx
import pytest

from integration.mesh_messaging.letters import put, timer
from mesh_messaging.deadletters_http import router
from mesh_runtime.health import Health
from mesh_runtime.http import create_app
from mesh_runtime.testing import StaticVerifier
from support.messaging import DID, Place

pytestmark = pytest.mark.postgres


@pytest.fixture
def client(database: Place) -> httpx.AsyncClient:
    app = create_app(
        title="t",
        version="1",
        description="t",
        verifier=StaticVerifier({"reader": frozenset({"mesh.read"}), "admin": frozenset({"mesh.read", "mesh.admin"})}),
        health=Health({}),
        routers=[router(database.db)],
    )
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers={"authorization": "Bearer admin"}
    )


async def test_http_lists_shows_replays_and_discards(database: Place, client: httpx.AsyncClient) -> None:
    first = await put(database, n=1, value=b'{"n": 1, "key": "k", "name": "Zo\xc3\xab"}')
    broken = await put(database, headers=[("x", b"\xff")], value=b"\xff\x00")
    page = (await client.get("/dead-letters", params={"limit": 1})).json()
    assert [item["id"] for item in page["items"]] == [str(broken)]
    assert "data" not in page["items"][0]
    assert "headers" not in page["items"][0]
    page = (await client.get("/dead-letters", params={"limit": 1, "after": page["next"]})).json()
    assert ([item["id"] for item in page["items"]], page["next"]) == ([str(first)], None)
    shown = (await client.get(f"/dead-letters/{first}")).json()
    assert shown["data"]["name"] == "Zoë"
    assert ["ce_type", DID] in shown["headers"]
    assert (await client.get(f"/dead-letters/{broken}")).json()["data_base64"] == "/wA="

    answer = await client.post(f"/dead-letters/{first}/replay", json={"data": {"n": 9, "key": "k"}})
    assert (answer.status_code, answer.json()["state"], answer.json()["actor"]) == (202, "replaying", "admin")
    await timer(database).climb()
    assert await database.effects() == [9]
    answer = await client.post(f"/dead-letters/{broken}/discard", json={"reason": "noise"})
    assert (answer.status_code, answer.json()["state"]) == (200, "discarded")


async def test_http_replays_without_a_body(database: Place, client: httpx.AsyncClient) -> None:
    letter_id = await put(database)
    assert (await client.post(f"/dead-letters/{letter_id}/replay")).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/dead-letters/not-a-uuid", None, 422),
        ("GET", f"/dead-letters/{uuid.UUID(int=1)}", None, 404),
        ("GET", "/dead-letters?limit=0", None, 422),
        ("GET", "/dead-letters?limit=501", None, 422),
        ("GET", "/dead-letters?after=garbage", None, 422),
        ("GET", "/dead-letters?state=lost", None, 422),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/replay", {}, 404),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/replay", {"dat": 1}, 422),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/discard", {}, 422),
        ("POST", f"/dead-letters/{uuid.UUID(int=1)}/discard", {"reason": ""}, 422),
    ],
)
async def test_http_refuses_bad_input(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_http_a_repair_that_is_none_is_refused_with_the_reason(
    database: Place, client: httpx.AsyncClient
) -> None:
    letter_id = await put(database, headers=[], value=b"{}")
    answer = await client.post(f"/dead-letters/{letter_id}/replay", json={"data": {"x": 1}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-envelope")


async def test_http_readers_may_not_replay_and_strangers_see_nothing(client: httpx.AsyncClient) -> None:
    reader, path = {"authorization": "Bearer reader"}, f"/dead-letters/{uuid.uuid4()}/replay"
    assert (await client.get("/dead-letters", headers=reader)).status_code == 200
    assert (await client.post(path, headers=reader, json={})).status_code == 403
    assert (await client.get("/dead-letters", headers={"authorization": "Bearer x"})).status_code == 401
