"""What a round decided becomes durable, and the requesters are told, in one transaction."""

from __future__ import annotations

from uuid import UUID

from graph_adapter.domain.ports import Store
from graph_adapter.domain.settlement import Settlement
from mesh_runtime import faults
from mesh_runtime.clock import Clock

BEFORE_SETTLE = faults.declare("graph.before_settle", "Microsoft Graph has answered, nothing of it is written down")
SETTLED = faults.declare("graph.settled", "a round's results, replies and checkpoints are durable")


async def settle_round(store: Store, settlement: Settlement, clock: Clock) -> frozenset[UUID]:
    """Answers the operations of the settlement that were still ours; those of another holder are neither written nor
    answered.
    """
    faults.fault_point(BEFORE_SETTLE)
    async with store.transaction() as unit:
        held = await unit.operations.settle(settlement, clock.now())
        await unit.replies.send([reply for reply in settlement.replies if reply.command.operation_id in held])
    faults.fault_point(SETTLED)
    return held
