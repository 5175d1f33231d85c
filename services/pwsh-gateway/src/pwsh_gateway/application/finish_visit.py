"""Write down visits in one transaction.

Replies, what goes back to the queue, the execution log, sessions and their events.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh_runtime.faults import declare, fault_point
from pwsh_gateway.application.visit_report import VisitReport
from pwsh_gateway.domain.operations import Intent
from pwsh_gateway.domain.ports import Announcer, ExecutionLog, OperationQueue, SessionPool, SessionStore, Transactions

BEFORE_FINISH = declare("gateway.before_finish", "a visit is over, nothing about it is on disk yet")
AFTER_FINISH = declare("gateway.after_finish", "a visit is on disk, its seat is not free yet")


@dataclass(frozen=True, slots=True)
class RecordIntents:
    """What the writes of several visits are about to replace."""

    queue: OperationQueue
    transactions: Transactions
    owner: uuid.UUID

    async def __call__(self, intents: Sequence[Mapping[uuid.UUID, Intent]]) -> list[set[uuid.UUID]]:
        """For each, the operations that are still ours."""
        together = {identifier: intent for one in intents for identifier, intent in one.items()}
        async with self.transactions() as tx:
            held = await self.queue.record_intents(tx, self.owner, together)
        return [held & one.keys() for one in intents]


@dataclass(frozen=True, slots=True)
class FinishVisits:
    """Safe to repeat: what was written the first time is left alone the second time."""

    queue: OperationQueue
    log: ExecutionLog
    sessions: SessionStore
    announcer: Announcer
    transactions: Transactions
    pool: SessionPool
    owner: uuid.UUID

    async def __call__(self, reports: Sequence[VisitReport]) -> list[None]:
        """Operations that were given to somebody else meanwhile get no reply from here."""
        fault_point(BEFORE_FINISH)
        finished = [item for report in reports for item in report.finished]
        requeued = [item for report in reports for item in report.requeued]
        page = self.pool.take_journal()
        try:
            async with self.transactions() as tx:
                operations = [item.operation for item in finished] + [item.operation for item in requeued]
                await self.queue.hold(tx, self.owner, [operation.operation_id for operation in operations])
                held = await self.queue.finish(tx, self.owner, finished)
                await self.queue.give_back(tx, self.owner, requeued)
                await self.log.add(tx, [item for report in reports for item in report.executions])
                await self.sessions.save(tx, self.owner, list(page.records.values()))
                mine = [item.reply for item in finished if item.operation.operation_id in held]
                await self.announcer.replies(tx, mine)
                await self.announcer.sessions(tx, page.events)
        except BaseException:
            self.pool.put_back(page)
            raise
        fault_point(AFTER_FINISH)
        return [None] * len(reports)
