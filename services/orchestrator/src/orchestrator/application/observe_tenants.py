"""Read the tenants whose turn it is: licences and their seats, groups, and what the app registration may do."""

from datetime import timedelta

from mesh_runtime.db import Database
from orchestrator.application.rules import Rules

TENANTS_COUNT_MAX = 100


async def observe_tenants(rules: Rules, db: Database, *, every_seconds: float) -> int:
    """Asks for at most TENANTS_COUNT_MAX reads in one transaction; returns how many. Replicas share the turns."""
    async with db.transaction() as tx:
        now = rules.clock.now()
        again_at = now + timedelta(seconds=every_seconds)
        due = await rules.tenants.claim_due(tx, now, again_at=again_at, count_max=TENANTS_COUNT_MAX)
        await rules.commands.observe_tenants(tx, due)
    return len(due)
