"""Access tokens: makes and reads back the JWTs the faces accept. Owns the signing key of this process; accepts only its
own."""

from dataclasses import dataclass
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

CACHE_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for; `resource` is the audience, one of the RESOURCES keys."""

    tenant_id: str
    client_id: str
    resource: str
    roles: frozenset[str]
    directory_roles: frozenset[str]  # template ids (`wids`)
    expires_at: float


class TokenSigner:
    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048, parameters={"use": "sig", "alg": "RS256"}, auto_kid=True)
        self._callers: dict[str, Caller] = {}

    @property
    def public_jwk(self) -> dict[str, Any]:
        return dict(self._key.as_dict(private=False))

    def sign(self, claims: dict[str, Any]) -> str:
        header = {"typ": "JWT", "alg": "RS256", "kid": self._key.kid}
        return jws.serialize_compact(header, orjson.dumps(claims), self._key, algorithms=["RS256"])

    def read(self, token: str, resources: dict[str, str]) -> Caller | None:
        """The caller, or None for anything this process did not sign. Expiry is the face's to judge."""
        caller = self._callers.get(token)
        if caller is not None:
            return caller
        try:
            signed = jws.deserialize_compact(token, self._key, algorithms=["RS256"])
        except (JoseError, ValueError):
            return None
        claims = orjson.loads(signed.payload)
        caller = Caller(
            tenant_id=claims["tid"],
            client_id=claims["appid"],
            resource=resources.get(claims["aud"], claims["aud"]),
            roles=frozenset(claims.get("roles", ())),
            directory_roles=frozenset(claims.get("wids", ())),
            expires_at=float(claims["exp"]),
        )
        if len(self._callers) >= CACHE_MAX:
            self._callers.clear()
        self._callers[token] = caller
        return caller
