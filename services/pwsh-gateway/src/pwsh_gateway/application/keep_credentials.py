"""Keep what cert-manager delivers.

Open it with our key, seal it at rest, switch when it is activated, drop what failed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from mesh_runtime.clock import Clock
from mesh_runtime.errors import InvalidInput
from mesh_runtime.logs import get_logger
from pwsh_gateway.domain.ports import Bell, CredentialStore, OperationQueue, Transaction
from pwsh_gateway.domain.sessions import Credential, CredentialFacts

_log = get_logger("pwsh_gateway.credentials")


@dataclass(frozen=True, slots=True)
class KeepCredentials:
    """Runs in the consumer's transaction. `unseal(jwe, context)` opens what is sealed for this service."""

    credentials: CredentialStore
    queue: OperationQueue
    bell: Bell
    unseal: Callable[[str, str], bytes]
    clock: Clock

    async def receive(self, tx: Transaction, facts: CredentialFacts, sealed: str) -> None:
        """Raises InvalidInput when the bundle cannot be opened or holds no certificate."""
        opened = orjson.loads(self.unseal(sealed, f"credential:{facts.credential_id}"))
        pfx, password = opened.get("pfx"), opened.get("password")
        if not isinstance(pfx, str) or not isinstance(password, str):
            raise InvalidInput("the bundle holds no PFX with a password", code="invalid-credential")
        await self.credentials.add(tx, Credential(facts, pfx, password), self.clock.now())
        await self._wake(tx, facts.tenant_id)
        _log.info("credential.received", tenant_id=facts.tenant_id, credential_id=str(facts.credential_id))

    async def activate(self, tx: Transaction, tenant_id: str, credential_id: uuid.UUID) -> None:
        """New sessions use it from now on; sessions of the one before drain."""
        known = await self.credentials.activate(tx, tenant_id, credential_id, self.clock.now())
        if not known:
            # A client secret is activated too, but never delivered here.
            _log.info("credential.not_ours", tenant_id=tenant_id, credential_id=str(credential_id))
            return
        await self._wake(tx, tenant_id)
        _log.info("credential.activated", tenant_id=tenant_id, credential_id=str(credential_id))

    async def drop(self, tx: Transaction, tenant_id: str, credential_id: uuid.UUID | None) -> None:
        """It does not work; an active one stays until another is activated."""
        if credential_id is not None:
            await self.credentials.drop(tx, tenant_id, credential_id)
            await self.bell.control(tx)

    async def _wake(self, tx: Transaction, tenant_id: str) -> None:
        await self.queue.hasten(tx, tenant_id, self.clock.now())
        await self.bell.control(tx)
        await self.bell.work(tx)
