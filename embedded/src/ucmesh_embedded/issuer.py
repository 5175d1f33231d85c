"""The development OIDC issuer: short-lived access tokens for the stack's own clients, by client credentials.

Owns: discovery, the public keys, `POST /token`. Refuses: users, every other grant, scopes a client does not have.
Clients are read from `issuer.json`: {"clients": {name: {"secret_sha256": hex, "scopes": [...]}}}. Not for production:
there an operator names an issuer of their own.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import orjson
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ucmesh_embedded.web import AUDIENCE, application, json_response, serve

TOKEN_SECONDS = 3600
BODY_BYTES_MAX = 16_384
NO_STORE = {"Cache-Control": "no-store"}


class Issuer:
    """Signs tokens for known clients. `url` is the issuer identifier: every token's `iss`."""

    def __init__(self, url: str, key: RSAKey, clients: dict[str, Any]) -> None:
        self.url = url
        self._key = key
        self._clients = clients

    def discovery(self) -> dict[str, object]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint": f"{self.url}/token",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def jwks(self) -> dict[str, object]:
        return {"keys": [self._key.as_dict(private=False)]}

    def token(self, client_id: str, secret: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """(status, body) of RFC 6749 section 5 for one token request."""
        client = self._clients.get(client_id, {})
        presented = hashlib.sha256(secret.encode()).hexdigest()
        if not hmac.compare_digest(presented, str(client.get("secret_sha256", ""))):
            return 401, {"error": "invalid_client"}
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        granted = set(client["scopes"])
        wanted = set(form.get("scope", "").split()) or granted
        if not wanted <= granted:
            return 400, {"error": "invalid_scope", "error_description": " ".join(sorted(wanted - granted))}
        return 200, {
            "access_token": self._sign(client_id, sorted(wanted)),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": " ".join(sorted(wanted)),
        }

    def _sign(self, client_id: str, scopes: list[str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": client_id,
            "client_id": client_id,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(16),
            "scope": " ".join(scopes),
        }
        return jwt.encode({"alg": "RS256", "kid": self._key.kid, "typ": "at+jwt"}, claims, self._key)


def create_app(issuer: Issuer) -> Starlette:
    async def discovery(_: Request) -> Response:
        return json_response(issuer.discovery())

    async def jwks(_: Request) -> Response:
        return json_response(issuer.jwks())

    async def token(request: Request) -> Response:
        if int(request.headers.get("content-length", "0") or 0) > BODY_BYTES_MAX:
            return json_response({"error": "invalid_request"}, 413)
        body = await request.body()
        try:
            form = dict(parse_qsl(body.decode("ascii"), max_num_fields=20))
            client_id, secret = _client(request, form)
        except ValueError:
            return json_response({"error": "invalid_request"}, 400, NO_STORE)
        status, answer = issuer.token(client_id, secret, form)
        challenge = {"WWW-Authenticate": 'Basic realm="ucmesh"'} if status == 401 else {}
        return json_response(answer, status, NO_STORE | challenge)

    return application(
        [
            Route("/.well-known/openid-configuration", discovery),
            Route("/jwks", jwks),
            Route("/token", token, methods=["POST"]),
        ]
    )


def _client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Client id and secret from HTTP Basic or from the form. ValueError when the header is garbage."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client_id, _, secret = base64.b64decode(value, validate=True).decode("ascii").partition(":")
    except binascii.Error as error:
        raise ValueError("not base64") from error
    return unquote_plus(client_id), unquote_plus(secret)


def load(url: str, key_file: Path, clients_file: Path) -> Issuer:
    key = RSAKey.import_key(orjson.loads(key_file.read_bytes()))
    return Issuer(url, key, orjson.loads(clients_file.read_bytes())["clients"])


def main() -> None:
    arguments = argparse.ArgumentParser(prog="ucmesh_embedded.issuer")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--key-file", type=Path, required=True)
    arguments.add_argument("--clients-file", type=Path, required=True)
    given = arguments.parse_args()
    serve(create_app(load(f"http://127.0.0.1:{given.port}", given.key_file, given.clients_file)), given.port)


if __name__ == "__main__":
    main()
