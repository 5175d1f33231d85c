"""Stand-ins for tests of services: a verifier with fixed tokens, and an issuer that answers in memory.

Owns nothing that production uses. Refuses to be imported by a composition root: these accept what a test made up.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import httpx
from joserfc import jwk, jwt

from mesh_runtime.auth import Principal
from mesh_runtime.errors import Unauthenticated

ALL_SCOPES = frozenset({"mesh.read", "mesh.write", "mesh.admin", "hr.write"})


class StaticVerifier:
    """Accepts exactly the given tokens; by default "test" with every scope."""

    def __init__(self, tokens: Mapping[str, frozenset[str]] | None = None) -> None:
        self._tokens = dict(tokens) if tokens is not None else {"test": ALL_SCOPES}

    async def verify(self, token: str) -> Principal:
        if token not in self._tokens:
            raise Unauthenticated("unknown token", code="token-invalid")
        return Principal(token, self._tokens[token], {})


class MemoryIssuer:
    """An OIDC issuer behind an in-memory HTTP transport: discovery, keys and client credentials.

    `client()` talks to it, `token(...)` signs one, `rotate()` starts a new key, `down` makes it fail.
    """

    def __init__(self, url: str = "https://issuer.test", audience: str = "ucmesh") -> None:
        self.url = url
        self.audience = audience
        self.clients: dict[str, str] = {}
        self.down = False
        self.requests: list[str] = []
        self.keys: list[jwk.RSAKey | jwk.ECKey] = []
        self.expires_in_seconds = 300
        self.auth_methods: list[str] | None = None
        self.rotate()

    def rotate(self, *, kind: str = "EC", keep: bool = True) -> None:
        """Signs with a new key from now on; the former ones stay published unless `keep` is False."""
        if not keep:
            self.keys.clear()
        parameters: jwk.KeyParameters = {"kid": f"key-{len(self.keys) + 1}-{kind}", "use": "sig"}
        key: jwk.RSAKey | jwk.ECKey
        if kind == "RSA":
            key = jwk.RSAKey.generate_key(2048, parameters, private=True)
        else:
            key = jwk.ECKey.generate_key("P-256", parameters, private=True)
        self.keys.append(key)

    def token(
        self, *scopes: str, key: jwk.Key | None = None, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """A signed token; `claims` overrides, None removes a claim."""
        signer = key if key is not None else self.keys[-1]
        now = int(time.time())
        body = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "tester",
            "iat": now,
            "exp": now + self.expires_in_seconds,
            "scope": " ".join(scopes),
            **claims,
        }
        alg = "RS256" if signer.key_type == "RSA" else "ES256"
        protected = {"alg": alg, "kid": signer.kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in protected.items() if value is not None},
            {name: value for name, value in body.items() if value is not None},
            signer,
            algorithms=[str(protected["alg"])],
        )

    def client(self) -> httpx.AsyncClient:
        """An HTTP client whose every request ends here."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        self.requests.append(request.url.path)
        if self.down:
            raise httpx.ConnectError("the issuer is down", request=request)
        if request.url.path == "/.well-known/openid-configuration":
            return httpx.Response(200, json=self.metadata())
        if request.url.path == "/jwks":
            return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})
        if request.url.path == "/token":
            return self._issue(request)
        return httpx.Response(404)

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        document: dict[str, Any] = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint": f"{self.url}/token",
        }
        if self.auth_methods is not None:
            document["token_endpoint_auth_methods_supported"] = self.auth_methods
        return document

    def _issue(self, request: httpx.Request) -> httpx.Response:
        form = httpx.QueryParams(request.content.decode())
        client_id, secret = form.get("client_id"), form.get("client_secret")
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            client_id, _, secret = (unquote_plus(part) for part in base64.b64decode(value).decode().partition(":"))
        if client_id is None or self.clients.get(client_id) != secret:
            return httpx.Response(401, json={"error": "invalid_client"})
        token = self.token(*form.get("scope", "mesh.read").split(), sub=client_id)
        return httpx.Response(
            200, json={"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in_seconds}
        )
