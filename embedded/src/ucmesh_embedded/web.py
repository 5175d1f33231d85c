"""What the two small HTTP servers of the embedded stack share: problem answers, bearer checks, and being served.

Refuses: endpoints of its own but `/health/*`. Services use mesh-runtime for this; these two start in a fraction of
the time with Starlette alone.
"""

from collections.abc import Sequence
from pathlib import Path

import orjson
import uvicorn
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

AUDIENCE = "ucmesh"
LEEWAY_SECONDS = 60
HEALTH_PATHS = ("/health/live", "/health/ready", "/health/startup")


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def application(routes: Sequence[BaseRoute]) -> Starlette:
    async def healthy(_: Request) -> Response:
        return json_response({"status": "ok"})

    health = [Route(path, healthy) for path in HEALTH_PATHS]
    return Starlette(routes=[*health, *routes], exception_handlers={HTTPException: _problem})


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code}
    return Response(orjson.dumps(body), error.status_code, error.headers, media_type="application/problem+json")


def serve(app: Starlette, port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=2)


class BearerCheck:
    """Verifies access tokens of the development issuer with its public key."""

    def __init__(self, issuer: str, issuer_key_file: Path) -> None:
        private = RSAKey.import_key(orjson.loads(issuer_key_file.read_bytes()))
        self._keys = KeySet([RSAKey.import_key(private.as_dict(private=False))])
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )

    def require(self, request: Request, scope: str) -> None:
        """HTTPException 401 without a good token, 403 when its scopes lack `scope`."""
        token = bearer(request)
        try:
            claims = jwt.decode(token, self._keys, algorithms=["RS256"]).claims
            self._claims.validate(claims)
        except (JoseError, ValueError) as error:
            raise unauthenticated("The token is not valid here.") from error
        if scope not in str(claims.get("scope", "")).split():
            raise HTTPException(403, f"The token lacks the scope {scope}.")


def bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthenticated("A bearer token is needed.")
    return token


def unauthenticated(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
