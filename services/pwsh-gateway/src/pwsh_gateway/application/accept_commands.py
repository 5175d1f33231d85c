"""Take commands into the queue.

Answer at once what can never be carried out, and again what was carried out already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mesh_runtime.clock import Clock
from mesh_runtime.errors import InvalidInput
from pwsh_gateway.domain.catalogue import Catalogue
from pwsh_gateway.domain.operations import Command, Problem, Reply, Verdict
from pwsh_gateway.domain.ports import Accepted, Announcer, Bell, OperationQueue, Transaction


@dataclass(frozen=True, slots=True)
class AcceptCommands:
    """Runs in the consumer's transaction."""

    queue: OperationQueue
    catalogue: Catalogue
    announcer: Announcer
    bell: Bell
    clock: Clock

    async def __call__(self, tx: Transaction, commands: Sequence[Command]) -> None:
        now = self.clock.now()
        accepted = [self._accept(command, now) for command in commands]
        replies = await self.queue.add(tx, accepted, now)
        await self.announcer.replies(tx, replies)
        if any(item.reply is None for item in accepted):
            await self.bell.work(tx)

    def _accept(self, command: Command, now: datetime) -> Accepted:
        try:
            entry = self.catalogue.find(command.operation, command.version)
            return Accepted(command, entry.module, entry.check(command.params))
        except InvalidInput as error:
            problem = Problem(error.code, str(error), retryable=False, detail=error.detail, remedy=error.remedy)
            verdict = Verdict("refused", problem=problem)
            return Accepted(command, None, command.params, reply_to(command, verdict, now))


def reply_to(command: Command, verdict: Verdict, now: datetime) -> Reply:
    """The reply to a command that never got into the queue."""
    return Reply(
        operation_id=command.operation_id,
        plan_id=command.plan_id,
        operation=command.operation,
        version=command.version,
        tenant_id=command.tenant_id,
        reply_to=command.reply_to,
        verdict=verdict,
        attempts=0,
        started_at=now,
        finished_at=now,
        traceparent=command.traceparent,
    )
