"""Our own access token for calling other services: OAuth 2.0 client credentials.

Owns fetching one token at a time and renewing it before it expires. Refuses to send the secret anywhere but to the
issuer's token endpoint.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote_plus

import httpx
import orjson
from pydantic import SecretStr

from mesh_runtime.clock import Clock, SystemClock
from mesh_runtime.errors import Unauthenticated, Unavailable
from mesh_runtime.issuer import Issuer

RENEW_BEFORE_SECONDS = 60.0
DEFAULT_LIFETIME_SECONDS = 300.0


class ClientCredentials:
    """Our own token for calling other services, cached until shortly before it expires.

    `issuer` is the issuer's URL; the token endpoint is taken from its discovery document.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: SecretStr | str,
        *,
        scope: str | None = None,
        audience: str | None = None,
        ca_file: Path | None = None,
        http: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._issuer = Issuer(issuer, ca_file=ca_file, http=http, clock=self._clock)
        self._client_id = client_id
        self._secret = client_secret if isinstance(client_secret, SecretStr) else SecretStr(client_secret)
        self._form = {"grant_type": "client_credentials"}
        if scope is not None:
            self._form["scope"] = scope
        if audience is not None:
            self._form["audience"] = audience
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._renew_at = float("-inf")

    async def token(self) -> str:
        """A valid access token. Raises Unavailable when the issuer does not answer, Unauthenticated when it says no."""
        if self._token is not None and self._clock.monotonic() < self._renew_at:
            return self._token
        async with self._lock:
            if self._token is None or self._clock.monotonic() >= self._renew_at:
                self._token = await self._fetch()
            return self._token

    async def close(self) -> None:
        """Closes the connection to the issuer."""
        await self._issuer.close()

    async def _fetch(self) -> str:
        endpoint = await self._issuer.endpoint("token_endpoint")
        methods = (await self._issuer.metadata()).get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        secret = self._secret.get_secret_value()
        try:
            if "client_secret_basic" in methods:
                # RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
                basic = (quote_plus(self._client_id), quote_plus(secret))
                response = await self._issuer.http.post(endpoint, data=self._form, auth=basic)
            else:
                form = {**self._form, "client_id": self._client_id, "client_secret": secret}
                response = await self._issuer.http.post(endpoint, data=form)
        except httpx.HTTPError as error:
            message = f"the token endpoint does not answer: {type(error).__name__}"
            raise Unavailable(message, code="issuer-unavailable") from error
        if response.status_code in {400, 401, 403}:
            raise Unauthenticated(
                "the issuer refused our client credentials",
                code="client-refused",
                remedy="Check the client id, its secret and its scopes at the issuer.",
                detail={"client_id": self._client_id, "status": response.status_code},
            )
        return self._accept(response)

    def _accept(self, response: httpx.Response) -> str:
        try:
            answer = orjson.loads(response.content)
            response.raise_for_status()
            token = str(answer["access_token"])
            lifetime_seconds = float(answer.get("expires_in", DEFAULT_LIFETIME_SECONDS))
        except (httpx.HTTPStatusError, TypeError, KeyError, ValueError, AttributeError):
            message = f"the token endpoint answered {response.status_code} without a token"
            raise Unavailable(message, code="issuer-unavailable") from None
        # A token shorter lived than the margin is still used for half its life.
        self._renew_at = self._clock.monotonic() + max(lifetime_seconds - RENEW_BEFORE_SECONDS, lifetime_seconds / 2)
        return token
