"""An OIDC issuer seen from outside: its discovery document and its signing keys.

Owns fetching and caching them within bounds. Refuses metadata of another issuer, endpoints without trusted transport,
and keys that are not for signatures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
from joserfc import jwk
from joserfc.errors import JoseError

from mesh_runtime.clock import Clock, SystemClock
from mesh_runtime.errors import Unavailable
from mesh_runtime.logs import get_logger
from mesh_runtime.outgoing import http_client
from mesh_runtime.settings import check_url

KEYS_MAX = 100
KEYS_MAX_AGE_SECONDS = 3600.0
KEYS_REFRESH_MIN_SECONDS = 10.0
KEYS_RETRY_SECONDS = 1.0

_log = get_logger("mesh_runtime.issuer")


class Issuer:
    """An OIDC issuer's metadata and keys, fetched lazily and cached."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        http: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.url = check_url(url)
        self._clock = clock or SystemClock()
        self._ca_file = ca_file
        self._http = http
        self._lock = asyncio.Lock()
        self._metadata: Mapping[str, Any] | None = None
        self._keys: dict[str, jwk.Key] = {}
        self._fetched = float("-inf")
        self._attempted = float("-inf")
        self._failure: Unavailable | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """The client used for the issuer, made at first use."""
        if self._http is None:
            self._http = http_client(self._ca_file)
        return self._http

    async def endpoint(self, name: str) -> str:
        """A URL of the issuer's metadata, such as `jwks_uri` or `token_endpoint`."""
        metadata = await self.metadata()
        value = metadata.get(name)
        if not isinstance(value, str):
            raise Unavailable(f"the issuer's metadata has no {name}", code="issuer-unavailable")
        try:
            return check_url(value)
        except ValueError as error:
            raise Unavailable(f"the issuer's {name} {error}", code="issuer-unavailable") from None

    async def metadata(self) -> Mapping[str, Any]:
        """The discovery document; its `issuer` must be the one we were given (OpenID Connect Discovery 4.3)."""
        if self._metadata is None:
            document = await self._get(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
            if document.get("issuer") != self.url:
                raise Unavailable("the issuer's metadata names another issuer", code="issuer-unavailable")
            self._metadata = document
        return self._metadata

    async def key(self, kid: str) -> jwk.Key | None:
        """The signing key of that id; None when the issuer does not publish it.

        An unknown id or an old set is fetched again, at most once in KEYS_REFRESH_MIN_SECONDS. An issuer that is down
        does not take away keys that were good before. Raises Unavailable when nothing is known yet.
        """
        if self._must_refresh(kid):
            async with self._lock:
                if self._must_refresh(kid):
                    await self._try_refresh()
        if not self._keys and self._failure is not None:
            raise Unavailable(str(self._failure), code=self._failure.code, detail=self._failure.detail)
        return self._keys.get(kid)

    def _must_refresh(self, kid: str) -> bool:
        now = self._clock.monotonic()
        pause_seconds = KEYS_REFRESH_MIN_SECONDS if self._failure is None else KEYS_RETRY_SECONDS
        if now - self._attempted < pause_seconds:
            return False
        return kid not in self._keys or now - self._fetched >= KEYS_MAX_AGE_SECONDS

    async def _try_refresh(self) -> None:
        try:
            await self._refresh()
        except Unavailable as failure:
            self._failure = failure
            _log.warning("auth.keys_not_fetched", issuer=self.url, reason=str(failure))
        else:
            self._failure = None
            self._fetched = self._clock.monotonic()
        # Only now: whoever asks meanwhile must wait for the answer, not take the attempt for one.
        self._attempted = self._clock.monotonic()

    async def _refresh(self) -> None:
        document = await self._get(await self.endpoint("jwks_uri"))
        keys: dict[str, jwk.Key] = {}
        entries = document.get("keys")
        for entry in entries[:KEYS_MAX] if isinstance(entries, list) else []:
            usable = isinstance(entry, dict) and entry.get("kty") in {"RSA", "EC"} and entry.get("use", "sig") == "sig"
            if not usable or not isinstance(entry.get("kid"), str):
                continue
            try:
                keys[entry["kid"]] = jwk.import_key(entry)
            except (JoseError, ValueError) as error:
                _log.warning("auth.key_ignored", issuer=self.url, kid=entry["kid"], reason=str(error))
        self._keys = keys

    async def _get(self, url: str) -> Mapping[str, Any]:
        try:
            response = await self.http.get(url)
            response.raise_for_status()
            document = orjson.loads(response.content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            message = f"the token issuer does not answer: {type(error).__name__}"
            raise Unavailable(message, code="issuer-unavailable", detail={"url": url}) from error
        if not isinstance(document, dict):
            raise Unavailable("the token issuer answered something else than JSON", code="issuer-unavailable")
        return document

    async def close(self) -> None:
        """Closes the HTTP client."""
        if self._http is not None:
            await self._http.aclose()
