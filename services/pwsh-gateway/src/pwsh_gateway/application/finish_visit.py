"""Write down a visit in one transaction.

Replies, what goes back to the queue, the execution log, sessions and their events.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from mesh_runtime.faults import declare, fault_point
from pwsh_gateway.application.visit_report import VisitReport
from pwsh_gateway.domain.ports import Announcer, ExecutionLog, OperationQueue, SessionPool, SessionStore, Transactions

BEFORE_FINISH = declare("gateway.before_finish", "a visit is over, nothing about it is on disk yet")
AFTER_FINISH = declare("gateway.after_finish", "a visit is on disk, its seat is not free yet")


@dataclass(frozen=True, slots=True)
class FinishVisit:
    """Safe to repeat: what was written the first time is left alone the second time."""

    queue: OperationQueue
    log: ExecutionLog
    sessions: SessionStore
    announcer: Announcer
    transactions: Transactions
    pool: SessionPool
    owner: uuid.UUID

    async def __call__(self, report: VisitReport) -> None:
        """Operations that were given to somebody else meanwhile get no reply from here."""
        fault_point(BEFORE_FINISH)
        page = self.pool.take_journal()
        try:
            async with self.transactions() as tx:
                held = await self.queue.finish(tx, self.owner, report.finished)
                await self.queue.give_back(tx, self.owner, report.requeued)
                await self.log.add(tx, report.executions)
                await self.sessions.save(tx, self.owner, list(page.records.values()))
                mine = [item.reply for item in report.finished if item.operation.operation_id in held]
                await self.announcer.replies(tx, mine)
                await self.announcer.sessions(tx, page.events)
        except BaseException:
            self.pool.put_back(page)
            raise
        fault_point(AFTER_FINISH)
