"""Commands come in: the new ones are queued, a repeated one that is done gets its stored reply again."""

from __future__ import annotations

from collections.abc import Sequence

from graph_adapter.domain.operation import Command
from graph_adapter.domain.ports import Unit
from mesh_runtime.clock import Clock


async def accept_operations(unit: Unit, commands: Sequence[Command], clock: Clock) -> None:
    """Runs in the consumer's transaction. A repeated command that is still under way changes nothing: its reply will
    come.
    """
    done = await unit.operations.accept(commands, clock.now())
    await unit.replies.resend(done)
