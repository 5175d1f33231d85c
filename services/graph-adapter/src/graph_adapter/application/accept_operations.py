"""Commands come in: written down and, where this process can carry them out at once, leased in the same statement;
else queued. A repeated one that is done gets its stored reply again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from graph_adapter.domain.fairness import Limits
from graph_adapter.domain.operation import Command, LeasedOperation
from graph_adapter.domain.ports import Unit
from graph_adapter.domain.tray import Tray, let_in
from graph_adapter.domain.views import HandOver
from mesh_runtime.clock import Clock

OPERATIONS_OF_A_TARGET_MAX = 10


class Desk:
    """Where the consumer hands work over to a worker of its process."""

    def __init__(self, tray: Tray, limits: Limits, lease_seconds: float) -> None:
        self._tray = tray
        self._limits = limits
        self._lease_seconds = lease_seconds

    @property
    def is_open(self) -> bool:
        """Whether a worker takes anything."""
        return self._tray.is_open

    async def offer(self, unit: Unit, commands: Sequence[Command], now: datetime) -> HandOver | None:
        """What may be leased at once."""
        if not commands or not self._tray.room:
            return None
        in_flight = await unit.operations.room(sorted({command.tenant_id for command in commands}), now)
        left = self._tray.room
        room = {name: self._limits.tenant_handed_over_max - count for name, count in in_flight.items()}
        inside = let_in(commands, room, OPERATIONS_OF_A_TARGET_MAX, left)
        return HandOver(inside, self._tray.lease_id, now + timedelta(seconds=self._lease_seconds)) if inside else None

    def hand_over(self, unit: Unit, leased: Sequence[LeasedOperation], handed: HandOver) -> None:
        """Into the tray as soon as it is durable. If nobody knows whether it is, the lease runs out by itself."""
        self._tray.expect()

        def ended(durable: bool) -> None:
            self._tray.arrived(leased if durable else (), handed.lease_end)

        unit.at_end(ended)


async def accept_operations(unit: Unit, commands: Sequence[Command], clock: Clock, desk: Desk | None = None) -> None:
    """Runs in the consumer's transaction. A repeated command that is still under way changes nothing: its reply will
    come. Without a `desk` (the worker is another process) everything is queued.
    """
    now = clock.now()
    handed = await desk.offer(unit, commands, now) if desk is not None else None
    accepted = await unit.operations.accept(commands, now, handed)
    await unit.replies.resend(accepted.done)
    if desk is not None and handed is not None and accepted.leased:
        leased = {
            command.operation_id: LeasedOperation(command, 1, now, None, False)
            for command in commands
            if command.operation_id in accepted.leased
        }
        desk.hand_over(unit, list(leased.values()), handed)
