"""Tokens for Microsoft Graph: one client a credential, one sign-in at a time, tokens kept until they run out.

Owns the memory of tokens and of refusals (a credential refused for good is not tried again for a minute). Refuses
tokens of another tenant than the credential's. MSAL itself is behind `entra.py`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import orjson

from graph_adapter.adapters.graph.entra import EntraClient
from graph_adapter.domain.clouds import Cloud, cloud_of
from graph_adapter.domain.credential import Credential, CredentialSecret, TenantMismatch, Token
from mesh_runtime.clock import Clock
from mesh_runtime.errors import MeshError, NotFound
from mesh_runtime.logs import get_logger

CLIENT_COUNT_MAX = 2_000
REFUSAL_SECONDS = 60
REFRESH_BEFORE_SECONDS = 300
THREAD_COUNT_MAX = 32

_log = get_logger("graph_adapter.auth")

T = TypeVar("T")
Load = Callable[[UUID], Awaitable[tuple[Credential, CredentialSecret] | None]]


@dataclass(slots=True)
class _Entry:
    """What is remembered about one credential."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    credential: Credential | None = None
    client: EntraClient | None = None
    token: Token | None = None
    refusal: MeshError | None = None
    refused_until: datetime | None = None


class MsalTokens:
    """Implements the port `Tokens`. `load` opens a stored credential; `login_url` and `graph_url` replace the cloud's
    addresses (simulator)."""

    def __init__(
        self, load: Load, clock: Clock, *, login_url: str | None, graph_url: str | None, ca_file: Path | None
    ) -> None:
        self._load = load
        self._clock = clock
        self._login_url = login_url
        self._graph_url = graph_url
        self._ca_file = ca_file
        self._entries: OrderedDict[UUID, _Entry] = OrderedDict()
        # Threads of our own: a sign-in service that hangs must not hold up other users of the loop's few.
        self._threads = ThreadPoolExecutor(THREAD_COUNT_MAX, thread_name_prefix="sign-in")

    def close(self) -> None:
        """Ends the threads; a sign-in under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def token(self, tenant_id: str, credential_id: UUID) -> Token:
        entry = self._entry(credential_id)
        found = self._kept(entry, tenant_id)
        if found is None:
            async with entry.lock:
                found = self._kept(entry, tenant_id) or await self._sign_in(entry, tenant_id, credential_id)
        return found

    async def renew(self, stale: Token) -> Token:
        entry = self._entry(stale.credential_id)
        async with entry.lock:
            if entry.token is not None and entry.token.value != stale.value:
                return entry.token
            entry.token = None
            return await self._sign_in(entry, stale.tenant_id, stale.credential_id)

    def _entry(self, credential_id: UUID) -> _Entry:
        entry = self._entries.get(credential_id)
        if entry is None:
            entry = self._entries[credential_id] = _Entry()
            if len(self._entries) > CLIENT_COUNT_MAX:
                self._entries.popitem(last=False)
        self._entries.move_to_end(credential_id)
        return entry

    def _kept(self, entry: _Entry, tenant_id: str) -> Token | None:
        token = entry.token
        if token is None or token.tenant_id != tenant_id or token.expires_at <= self._clock.now():
            return None
        return token

    async def _sign_in(self, entry: _Entry, tenant_id: str, credential_id: UUID) -> Token:
        now = self._clock.now()
        if entry.refusal is not None and entry.refused_until is not None and now < entry.refused_until:
            raise entry.refusal
        entry.refusal = None
        try:
            entry.token = await self._ask_entra(entry, tenant_id, credential_id)
        except MeshError as error:
            # MSAL replays some refusals from a cache of its own; a new client asks again.
            entry.client = None
            if not error.retryable:
                entry.refusal = error
                entry.refused_until = now + timedelta(seconds=REFUSAL_SECONDS)
            _log.warning("sign-in.failed", tenant_id=tenant_id, credential_id=str(credential_id), reason=error.message)
            raise
        return entry.token

    async def _ask_entra(self, entry: _Entry, tenant_id: str, credential_id: UUID) -> Token:
        secret = None
        if entry.client is None:
            entry.credential, secret = await self._opened(credential_id)
        credential = entry.credential
        if credential is None or credential.tenant_id != tenant_id:
            raise TenantMismatch("the credential belongs to another tenant")
        cloud = cloud_of(credential.cloud, self._login_url, self._graph_url)
        if secret is not None:
            arguments = (credential, secret, cloud.login_url, self._ca_file, self._clock)
            entry.client = await self._in_thread(EntraClient, *arguments)
        assert entry.client is not None
        answer = await self._in_thread(entry.client.sign_in, cloud.scope)
        return self._token(answer, credential, cloud)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _opened(self, credential_id: UUID) -> tuple[Credential, CredentialSecret]:
        found = await self._load(credential_id)
        if found is None:
            raise NotFound(
                "the credential was not delivered here",
                code="credential-unknown",
                retryable=True,
                remedy="Wait for its delivery, or apply the customer's configuration again.",
            )
        return found

    def _token(self, answer: dict[str, Any], credential: Credential, cloud: Cloud) -> Token:
        value = str(answer["access_token"])
        claims = read_claims(value)
        tenant = claims.get("tid")
        if tenant is not None and str(tenant).lower() != credential.tenant_id:
            raise TenantMismatch("the credential opens another tenant", remedy="Check the customer's tenant id.")
        lifetime_seconds = float(answer.get("expires_in") or 0)
        usable_seconds = max(lifetime_seconds - REFRESH_BEFORE_SECONDS, lifetime_seconds / 2)
        return Token(
            value=value,
            tenant_id=credential.tenant_id,
            credential_id=credential.credential_id,
            graph_url=cloud.graph_url,
            roles=frozenset(str(role) for role in claims.get("roles") or ()) if claims else None,
            expires_at=self._clock.now() + timedelta(seconds=usable_seconds),
        )


def read_claims(token: str) -> dict[str, Any]:
    """The claims of a token, not verified: it is for Microsoft Graph, we only read what it allows. Empty when it is
    opaque."""
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, binascii.Error, orjson.JSONDecodeError):
        return {}
    return claims if isinstance(claims, dict) else {}
