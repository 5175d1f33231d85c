"""Find the next work this replica may do and lease it.

One visit per tenant and module a pass, urgent first, round robin.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from mesh_runtime.clock import Clock
from mesh_runtime.faults import declare, fault_point
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.operations import Stream
from pwsh_gateway.domain.ports import OperationQueue, Requeued, Transactions
from pwsh_gateway.domain.seats import Seats
from pwsh_gateway.domain.visits import Visit, group

AFTER_LEASE = declare("gateway.after_lease", "operations are leased for good, nothing was done for them yet")


@dataclass(slots=True)
class LeaseVisits:
    """`seats` is the count of this replica; visits that get no seat go straight back."""

    queue: OperationQueue
    transactions: Transactions
    seats: Seats
    clock: Clock
    owner: uuid.UUID
    lease_seconds: float
    _after: Stream | None = field(default=None)

    async def __call__(self, config: GatewayConfig) -> list[Visit]:
        """Leased visits with a seat taken. Empty when there is nothing due or no seat free."""
        limit = self.seats.free_count(config)
        if limit == 0:
            return []
        seated: list[Visit] = []
        try:
            await self._lease(config, limit, seated)
            if seated:
                fault_point(AFTER_LEASE)
        except BaseException:
            # Nobody will serve them from here; their leases run out.
            for visit in seated:
                self.seats.leave(visit)
            raise
        if seated:
            self._after = seated[-1].stream
        return seated

    async def _lease(self, config: GatewayConfig, limit: int, seated: list[Visit]) -> None:
        now = self.clock.now()
        async with self.transactions() as tx:
            leased = await self.queue.lease(
                tx,
                owner=self.owner,
                until=now + timedelta(seconds=self.lease_seconds),
                now=now,
                limit=limit,
                closed=self.seats.closed(config, self.clock.monotonic()),
                after=self._after,
                operations_max=config.visit_operations_max,
                since=now - timedelta(seconds=config.reads_settle_seconds),
            )
            refused = []
            for visit in group(leased):
                if self.seats.take(visit, config):
                    seated.append(visit)
                else:
                    refused += [Requeued(o, now, None, o.intent is not None, attempted=False) for o in visit.operations]
            await self.queue.give_back(tx, self.owner, refused)
