"""Who is calling, and what they may do: bearer tokens of an OIDC issuer, scopes per route, our own tokens for peers.

Owns token verification and the scopes of routes. Refuses unsigned or symmetric tokens, unknown issuers and audiences,
and to answer "no" when the issuer cannot be reached: that is Unavailable.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Protocol

import httpx
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError

from mesh_runtime.client_credentials import ClientCredentials
from mesh_runtime.clock import Clock, SystemClock
from mesh_runtime.errors import Forbidden, Unauthenticated
from mesh_runtime.issuer import Issuer

__all__ = ["ClientCredentials", "Principal", "TokenVerifier", "Verifier", "require"]

ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 60
TOKEN_LENGTH_MAX = 16_384
VERIFIED_MAX = 1024
VERIFIED_SECONDS = 30.0
BEARER_REMEDY = "Send `Authorization: Bearer <token>`."

_bearer = HTTPBearer(auto_error=False, description="Token of the configured OIDC issuer")
_jws_registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `scopes` joins the claims `scope`, `scp` and `roles`."""

    subject: str
    scopes: frozenset[str]
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Verifier(Protocol):
    """Turns a bearer token into a principal. Raises Unauthenticated, or Unavailable when that cannot be decided now."""

    async def verify(self, token: str) -> Principal: ...


class TokenVerifier:
    """Verifies bearer tokens (JWT, RS256 or ES256) of one issuer for one audience."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        ca_file: Path | None = None,
        http: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._issuer = Issuer(issuer, ca_file=ca_file, http=http, clock=self._clock)
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock.now().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._verified: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """The principal named by a valid token. Raises Unauthenticated, or Unavailable when keys cannot be fetched."""
        cached = self._verified.get(token)
        if cached is not None and self._clock.monotonic() < cached[0]:
            return cached[1]
        principal = await self._verify(token)
        expires_in = float(principal.claims["exp"]) + LEEWAY_SECONDS - self._clock.now().timestamp()
        self._verified[token] = (self._clock.monotonic() + min(VERIFIED_SECONDS, expires_in), principal)
        self._verified.move_to_end(token)
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return principal

    async def close(self) -> None:
        """Closes the connection to the issuer."""
        await self._issuer.close()

    async def _verify(self, token: str) -> Principal:
        if len(token) > TOKEN_LENGTH_MAX:
            raise _invalid("the token is too long")
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError) as error:
            raise _invalid("the token is not a signed JWT") from error
        kid = header.get("kid")
        if header.get("alg") not in ALGORITHMS or not isinstance(kid, str):
            raise _invalid(f"the token must name its key and be signed with {' or '.join(ALGORITHMS)}")
        key = await self._issuer.key(kid)
        if key is None:
            raise _invalid("the token is signed with a key the issuer does not publish")
        try:
            claims = jwt.decode(token, key, registry=_jws_registry).claims
            self._claims.validate(claims)
        except ExpiredTokenError as error:
            raise _invalid("the token has expired", code="token-expired") from error
        except (JoseError, ValueError) as error:
            raise _invalid(f"the token was not accepted: {error}") from error
        return Principal(str(claims["sub"]), _scopes(claims), MappingProxyType(claims))


def require(*scopes: str) -> Callable[..., Awaitable[Principal]]:
    """A FastAPI dependency: `Depends(require("mesh.read"))` gives the Principal, holding every one of `scopes`.

    Works in apps of `http.create_app`. Answers 401 with WWW-Authenticate without a valid bearer token, and 403 naming
    the missing scopes.
    """
    needed = frozenset(scopes)

    async def principal(
        request: Request, _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        # Verified once by the gate in front of the app; the parameter above is for the API's own description.
        caller = getattr(request.state, "principal", None)
        if not isinstance(caller, Principal):
            raise Unauthenticated("a bearer token is required", remedy=BEARER_REMEDY)
        missing = sorted(needed - caller.scopes)
        if missing:
            raise Forbidden(
                f"the token lacks the scope {' '.join(missing)}",
                code="scope-missing",
                remedy="Ask for a token with that scope.",
                detail={"missing": missing},
            )
        return caller

    return principal


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for name in ("scope", "scp", "roles"):
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(item for item in value if isinstance(item, str))
    return frozenset(found)


def _invalid(reason: str, *, code: str = "token-invalid") -> Unauthenticated:
    return Unauthenticated(reason, code=code, remedy="Fetch a new token from the issuer.")
