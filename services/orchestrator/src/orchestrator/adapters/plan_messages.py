"""The plan engine's outbox: commands and plan events as messages, appended in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import outbox
from mesh_runtime.clock import Clock, IdGenerator
from orchestrator import wire_plans
from orchestrator.domain.plan_ports import Command, Notice


class OutboxPlanMessages:
    """Gives every message an id and the present time."""

    def __init__(self, *, ids: IdGenerator, clock: Clock) -> None:
        self._ids = ids
        self._clock = clock

    async def append(self, tx: AsyncConnection, commands: Sequence[Command], notices: Sequence[Notice]) -> None:
        """One statement for all, none for nothing."""
        now = self._clock.now()
        messages = [wire_plans.to_command(command, self._ids.new(), now) for command in commands]
        messages.extend(wire_plans.to_plan_event(notice, self._ids.new(), now) for notice in notices)
        await outbox.append(tx, messages)
