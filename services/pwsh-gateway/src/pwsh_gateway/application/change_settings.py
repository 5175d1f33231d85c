"""Change the gateway while it runs: settings and error rules, each with actor and history; ask a session to end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh_runtime.clock import Clock
from mesh_runtime.errors import NotFound
from mesh_runtime.logs import get_logger
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import RuleSet, parse_rules
from pwsh_gateway.domain.ports import Bell, SessionStore, SettingsStore, Transactions

_log = get_logger("pwsh_gateway.settings")


@dataclass(frozen=True, slots=True)
class ChangeConfig:
    """Takes effect on every replica when the transaction commits. Lowered limits drain, they kill nothing."""

    settings: SettingsStore
    bell: Bell
    transactions: Transactions
    clock: Clock

    async def __call__(self, changes: Mapping[str, Any], actor: str) -> GatewayConfig:
        """Raises InvalidInput naming the key."""
        async with self.transactions() as tx:
            await self.settings.lock(tx)
            config = (await self.settings.config(tx)).changed(changes)
            await self.settings.set_config(tx, config, changes, actor, self.clock.now())
            await self.bell.control(tx)
            await self.bell.work(tx)
        _log.info("config.changed", actor=actor, changes=dict(changes))
        return config


@dataclass(frozen=True, slots=True)
class ReplaceRules:
    """The whole ordered table at once, so that its order is never in between."""

    settings: SettingsStore
    bell: Bell
    transactions: Transactions
    clock: Clock

    async def __call__(self, rules: Any, actor: str) -> RuleSet:
        """Raises InvalidInput naming the rule."""
        parsed = parse_rules(rules)
        async with self.transactions() as tx:
            await self.settings.lock(tx)
            await self.settings.set_rules(tx, parsed, actor, self.clock.now())
            await self.bell.control(tx)
        _log.info("error_rules.replaced", actor=actor, count=len(parsed.rules))
        return parsed


@dataclass(frozen=True, slots=True)
class TerminateSession:
    """The replica that runs the session ends it; what it was doing is tried again or read back."""

    sessions: SessionStore
    bell: Bell
    transactions: Transactions

    async def __call__(self, session_id: uuid.UUID, actor: str) -> None:
        """Raises NotFound when there is no such living session."""
        async with self.transactions() as tx:
            if not await self.sessions.ask_to_terminate(tx, session_id, actor):
                raise NotFound("there is no living session with this id", detail={"session_id": str(session_id)})
            await self.bell.control(tx)
        _log.info("session.terminate_asked", session_id=str(session_id), actor=actor)
