"""Settings and error rules in PostgreSQL, each a history whose last entry is in force, and the bell that tells of
changes.

Owns tables `config_change` and `error_rules` and the notification channels. Refuses to change an entry once written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.adapters.db.rows import dump
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import RuleSet, parse_rules, rules_as_data
from pwsh_gateway.domain.ports import Change

WORK_CHANNEL = "pwsh_gateway_work"
CONTROL_CHANNEL = "pwsh_gateway_control"
SHIPPED = "shipped"

_CONFIG = text("SELECT config::text AS config FROM config_change ORDER BY number DESC LIMIT 1")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('pwsh_gateway.settings'))")
_SET_CONFIG = text("""
INSERT INTO config_change (at, actor, changes, config)
VALUES (:now, :actor, CAST(:changes AS jsonb), CAST(:config AS jsonb))
""")
_HISTORY = text("""
SELECT number, at, actor, changes::text AS changes FROM config_change
WHERE CAST(:before AS bigint) IS NULL OR number < :before ORDER BY number DESC LIMIT :limit
""")
_RULES = text("SELECT actor, shipped_digest, rules::text AS rules FROM error_rules ORDER BY number DESC LIMIT 1")
_SET_RULES = text("""
INSERT INTO error_rules (at, actor, shipped_digest, rules) VALUES (:now, :actor, :digest, CAST(:rules AS jsonb))
""")
_NOTIFY = text("SELECT pg_notify(:channel, '')")


class Settings:
    """`domain.ports.SettingsStore` on PostgreSQL."""

    async def config(self, tx: AsyncConnection) -> GatewayConfig:
        """The values in force. A stored key that a newer release does not know, or finds out of bounds, is left out."""
        row = (await tx.execute(_CONFIG)).one_or_none()
        stored: dict[str, Any] = orjson.loads(row.config) if row is not None else {}
        try:
            return GatewayConfig().changed(stored)
        except InvalidInput:
            return _as_far_as_possible(stored)

    async def set_config(
        self, tx: AsyncConnection, config: GatewayConfig, changes: Mapping[str, Any], actor: str, now: datetime
    ) -> None:
        values = {"now": now, "actor": actor, "changes": dump(dict(changes)), "config": dump(_differing(config))}
        await tx.execute(_SET_CONFIG, values)

    async def lock(self, tx: AsyncConnection) -> None:
        """Serialises changes, so that each one builds on the one before."""
        await tx.execute(_LOCK)

    async def config_history(self, tx: AsyncConnection, before: int | None, limit: int) -> list[Change]:
        rows = await tx.execute(_HISTORY, {"before": before, "limit": limit})
        return [Change(row.number, row.at, row.actor, orjson.loads(row.changes)) for row in rows]

    async def rules(self, tx: AsyncConnection) -> RuleSet:
        row = (await tx.execute(_RULES)).one_or_none()
        return parse_rules(orjson.loads(row.rules)) if row is not None else RuleSet()

    async def set_rules(self, tx: AsyncConnection, rules: RuleSet, actor: str, now: datetime) -> None:
        values = {"now": now, "actor": actor, "digest": None, "rules": dump(rules_as_data(rules))}
        await tx.execute(_SET_RULES, values)

    async def seed_rules(self, tx: AsyncConnection, rules: RuleSet, digest: str, now: datetime) -> None:
        await self.lock(tx)
        row = (await tx.execute(_RULES)).one_or_none()
        if row is not None and (row.shipped_digest is None or row.shipped_digest == digest):
            return
        values = {"now": now, "actor": SHIPPED, "digest": digest, "rules": dump(rules_as_data(rules))}
        await tx.execute(_SET_RULES, values)


class PostgresBell:
    """`domain.ports.Bell`: notifications that leave with the commit."""

    async def work(self, tx: AsyncConnection) -> None:
        await tx.execute(_NOTIFY, {"channel": WORK_CHANNEL})

    async def control(self, tx: AsyncConnection) -> None:
        await tx.execute(_NOTIFY, {"channel": CONTROL_CHANNEL})


def _as_far_as_possible(stored: Mapping[str, Any]) -> GatewayConfig:
    config = GatewayConfig()
    for key, value in stored.items():
        with suppress(InvalidInput):
            config = config.changed({key: value})
    return config


def _differing(config: GatewayConfig) -> dict[str, Any]:
    # Only what somebody changed is stored, so a better default of a newer release takes effect.
    defaults = GatewayConfig().as_keys()
    return {key: value for key, value in config.as_keys().items() if value != defaults[key]}
