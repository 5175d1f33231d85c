"""The development issuer: RFC 6749 client credentials, discovery and keys that verify its tokens."""

import base64
import hashlib

import pytest
from httpx import ASGITransport, AsyncClient
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from ucmesh_embedded.issuer import Issuer, create_app

URL = "http://127.0.0.1:9"
CLIENTS = {"cli": {"secret_sha256": hashlib.sha256(b"s3cret").hexdigest(), "scopes": ["mesh.read", "hr.write"]}}


@pytest.fixture(scope="module")
def client() -> AsyncClient:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "k"}, private=True)
    return AsyncClient(transport=ASGITransport(create_app(Issuer(URL, key, CLIENTS))), base_url=URL)


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


async def test_a_token_verifies_with_the_published_key(client: AsyncClient) -> None:
    found = (await client.get("/.well-known/openid-configuration")).json()
    assert found["issuer"] == URL
    assert found["token_endpoint"] == URL + "/token"
    answer = await client.post("/token", data={"grant_type": "client_credentials"}, headers=basic("cli", "s3cret"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    token = jwt.decode(answer.json()["access_token"], KeySet.import_key_set((await client.get("/jwks")).json()))
    assert token.claims["iss"] == URL
    assert token.claims["aud"] == "ucmesh"
    assert token.claims["sub"] == "cli"
    assert token.claims["scope"] == "hr.write mesh.read"
    assert token.claims["exp"] - token.claims["iat"] == answer.json()["expires_in"]


async def test_the_published_key_is_public(client: AsyncClient) -> None:
    assert set((await client.get("/jwks")).json()["keys"][0]) <= {"kty", "n", "e", "kid", "use", "alg"}


async def test_a_client_may_ask_for_less(client: AsyncClient) -> None:
    form = {"grant_type": "client_credentials", "client_id": "cli", "client_secret": "s3cret", "scope": "mesh.read"}
    assert (await client.post("/token", data=form)).json()["scope"] == "mesh.read"


@pytest.mark.parametrize(
    ("form", "headers", "status", "error"),
    [
        ({"grant_type": "client_credentials"}, basic("cli", "wrong"), 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, basic("nobody", ""), 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, {}, 401, "invalid_client"),
        ({"grant_type": "password"}, basic("cli", "s3cret"), 400, "unsupported_grant_type"),
        ({}, basic("cli", "s3cret"), 400, "unsupported_grant_type"),
        (
            {"grant_type": "client_credentials", "scope": "mesh.admin"},
            basic("cli", "s3cret"),
            400,
            "invalid_scope",
        ),
        ({"grant_type": "client_credentials"}, {"Authorization": "Basic !!!"}, 400, "invalid_request"),
    ],
)
async def test_what_is_not_granted(
    client: AsyncClient, form: dict[str, str], headers: dict[str, str], status: int, error: str
) -> None:
    answer = await client.post("/token", data=form, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=1&" * 50, b"x" * 20_000])
async def test_a_body_that_is_no_form_is_refused(client: AsyncClient, body: bytes) -> None:
    answer = await client.post("/token", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code in {400, 401, 413}
