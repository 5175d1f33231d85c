"""Take the replies that belong to no plan: what a tenant holds, or why it could not be read (UnplannedReplies)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mesh_runtime.logs import get_logger
from orchestrator.application.rules import Rules
from orchestrator.domain.plan_status import Reply
from orchestrator.domain.ports import Refusal
from orchestrator.domain.stores import TenantObservation
from orchestrator.participants.graph import OBSERVE_TENANT

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

READ_AGAIN_SECONDS = 60

_log = get_logger("orchestrator.tenants")


class TakeTenantReplies:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def take(self, tx: "AsyncConnection", replies: Sequence[Reply]) -> None:
        """An observation replaces the former one as a whole; a failed read is noted and tried again soon."""
        rules, now = self._rules, self._rules.clock.now()
        reads = [reply for reply in replies if reply.operation == OBSERVE_TENANT]
        done = [
            TenantObservation(
                tenant_id=reply.tenant_id,
                read_at=reply.started_at or now,
                organization=reply.output.get("organization") or {},
                skus=reply.output.get("skus") or (),
                groups=reply.output.get("groups") or (),
                capabilities=reply.output.get("capabilities") or {},
                has_more_groups=bool(reply.output.get("groups_truncated")),
            )
            for reply in reads
            if reply.outcome == "succeeded"
        ]
        await rules.tenants.observed(tx, done, now)
        failed = {reply.tenant_id: _why(reply) for reply in reads if reply.outcome != "succeeded"}
        for tenant_id, why in failed.items():
            _log.warning("tenants.not_observed", tenant_id=tenant_id, code=why.code, reason=why.message)
        again_at = now + timedelta(seconds=READ_AGAIN_SECONDS)
        await rules.tenants.unobserved(tx, failed, now, again_at=again_at)


def _why(reply: Reply) -> Refusal:
    error = reply.error or {}
    return Refusal(
        str(error.get("code") or reply.outcome),
        str(error.get("message") or f"{reply.operation} {reply.outcome}"),
        error.get("remedy"),
    )
