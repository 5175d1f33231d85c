"""Offer a number again that nobody holds: one that was set aside because Teams refused it."""

from typing import TYPE_CHECKING

from mesh_runtime.errors import Conflict
from orchestrator.application.rules import Rules

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def free_number(rules: Rules, tx: "AsyncConnection", customer: str, number: str) -> None:
    """Raises Conflict when there is no such number, or somebody holds it."""
    former = await rules.ledgers.free_number(tx, customer, number, rules.clock.now())
    if former is None:
        raise Conflict(
            f"{number} cannot be freed: {customer!r} does not have it, or somebody holds it",
            code="number-not-free",
            remedy="Look at GET /customers/{customer}/numbers for who holds it.",
        )
