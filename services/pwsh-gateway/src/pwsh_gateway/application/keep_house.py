"""What has to be done again and again.

Keep leases, take over those of dead replicas, write sessions down, forget old rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from mesh_runtime.clock import Clock
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.ports import (
    Announcer,
    Bell,
    ExecutionLog,
    OperationQueue,
    SessionPool,
    SessionStore,
    Transactions,
)
from pwsh_gateway.domain.sessions import SessionEvent

FORGET_ROWS_MAX = 5000


@dataclass(frozen=True, slots=True)
class KeepLeases:
    """One transaction: our leases live on, expired ones of anybody go back to the queue, lost replicas are buried."""

    queue: OperationQueue
    sessions: SessionStore
    announcer: Announcer
    bell: Bell
    transactions: Transactions
    clock: Clock
    owner: uuid.UUID
    host: str
    lease_seconds: float

    async def __call__(self, running: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Those of the `running` operations that this replica still holds."""
        now = self.clock.now()
        async with self.transactions() as tx:
            until = now + timedelta(seconds=self.lease_seconds)
            held = await self.queue.renew(tx, owner=self.owner, ids=running, until=until)
            if await self.queue.reclaim(tx, now):
                await self.bell.work(tx)
            await self.sessions.seen(tx, self.owner, self.host, now)
            buried = await self.sessions.bury(tx, unseen_since=now - timedelta(seconds=3 * self.lease_seconds), now=now)
            events = [SessionEvent.about(r, "ended", r.reason, now) for r in buried if r.connected_at is not None]
            await self.announcer.sessions(tx, events)
        return held


@dataclass(frozen=True, slots=True)
class WriteJournal:
    """Sessions that changed outside a visit."""

    sessions: SessionStore
    announcer: Announcer
    transactions: Transactions
    pool: SessionPool
    owner: uuid.UUID

    async def __call__(self) -> None:
        page = self.pool.take_journal()
        if page.is_empty():
            return
        try:
            async with self.transactions() as tx:
                await self.sessions.save(tx, self.owner, list(page.records.values()))
                await self.announcer.sessions(tx, page.events)
        except BaseException:
            self.pool.put_back(page)
            raise


@dataclass(frozen=True, slots=True)
class ForgetOld:
    """Bounded deletes of what is past its keeping time."""

    queue: OperationQueue
    sessions: SessionStore
    log: ExecutionLog
    transactions: Transactions
    clock: Clock

    async def __call__(self, config: GatewayConfig) -> int:
        """Rows deleted."""
        now = self.clock.now()
        executions_before = now - timedelta(days=config.execution_days_kept)
        operations_before = now - timedelta(days=config.operation_days_kept)
        count = 0
        async with self.transactions() as tx:
            count += await self.log.forget(tx, executions_before, FORGET_ROWS_MAX)
            count += await self.sessions.forget(tx, executions_before, FORGET_ROWS_MAX)
            count += await self.queue.forget(tx, operations_before, FORGET_ROWS_MAX)
        return count
