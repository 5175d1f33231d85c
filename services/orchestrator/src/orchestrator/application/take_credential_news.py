"""Take cert-manager's word on a tenant: its certificate works on every workload, or why it does not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.application.rules import Rules
from orchestrator.domain.stores import CredentialNews

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def take_credential_news(rules: Rules, tx: "AsyncConnection", news: Sequence[CredentialNews]) -> None:
    """A tenant becomes ready, and is then read; a failure never takes a working tenant out of service."""
    await rules.tenants.take_news(tx, news, rules.clock.now())
