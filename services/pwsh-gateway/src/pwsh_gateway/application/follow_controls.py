"""Follow what was decided elsewhere.

Settings and error rules in force, the active credentials, sessions asked to end.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import RuleSet
from pwsh_gateway.domain.ports import CredentialStore, SessionPool, SessionStore, SettingsStore, Transactions
from pwsh_gateway.domain.seats import Seats


@dataclass(slots=True)
class FollowControls:
    """Holds the values in force for this replica; call it when the control bell rings."""

    settings: SettingsStore
    credentials: CredentialStore
    sessions: SessionStore
    read: Transactions
    pool: SessionPool
    seats: Seats
    owner: uuid.UUID
    config: GatewayConfig = field(default_factory=GatewayConfig)
    rules: RuleSet = field(default_factory=RuleSet)
    _active: dict[str, uuid.UUID] = field(default_factory=dict)

    async def __call__(self) -> None:
        """Raises Unavailable; the former values then stay in force."""
        tenants = sorted({*self.pool.tenants(), *self.seats.paused_tenants()})
        async with self.read() as tx:
            self.config = await self.settings.config(tx)
            self.rules = await self.settings.rules(tx)
            asked = await self.sessions.asked_to_terminate(tx, self.owner)
            active = await self.credentials.active(tx, tenants)
        for tenant_id, credential_id in active.items():
            if self._active.get(tenant_id) != credential_id:
                self.seats.resume(tenant_id)
        self._active = active
        self.pool.drain_superseded(active)
        for session_id, actor in asked:
            self.pool.terminate(session_id, f"terminated by {actor}")
