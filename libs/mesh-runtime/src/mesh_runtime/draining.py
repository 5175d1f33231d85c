"""Draining a replica: it takes no new work, ends what it holds, says when it is empty, and waits to be stopped.

    working --POST /drain or SIGUSR1--> draining --every role but the API has returned--> drained --SIGTERM--> ended

Owns which role still holds something. Refuses a way back: a drained replica is stopped, another one is started.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends

from mesh_runtime.auth import Principal, require
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import Role

STAYS = frozenset({"api", "startup"})

_log = get_logger("mesh_runtime.draining")


class Drain:
    """Of one process. `on_asked` is called once, when draining begins."""

    def __init__(self, on_asked: Callable[[], None] = lambda: None) -> None:
        self._on_asked = on_asked
        self._asked = asyncio.Event()
        self._busy: set[str] = set()

    @property
    def state(self) -> Literal["working", "draining", "drained"]:
        if not self._asked.is_set():
            return "working"
        return "draining" if self._busy else "drained"

    @property
    def busy(self) -> list[str]:
        """The roles that still work or end what they hold."""
        return sorted(self._busy)

    def ask(self) -> None:
        """Begin; again is the same as once."""
        if not self._asked.is_set():
            _log.info("drain.asked", busy=self.busy)
            self._asked.set()
            self._on_asked()

    def watch(self, roles: Sequence[Role]) -> list[Role]:
        """The roles, so that a drain ends all but the API as SIGTERM does, and the process goes on without them."""
        return [role if role.name in STAYS else Role(role.name, self._watched(role)) for role in roles]

    def _watched(self, role: Role) -> Callable[[asyncio.Event], Awaitable[None]]:
        async def run(stop: asyncio.Event) -> None:
            own = asyncio.Event()
            with suppress(NotImplementedError, ValueError, RuntimeError):
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.ask)
            self._busy.add(role.name)
            relay = asyncio.create_task(_set_by_either(own, stop, self._asked))
            try:
                await role.run(own)
            finally:
                relay.cancel()
            if not own.is_set():
                return  # ended unasked: whoever runs the roles ends the process
            self._busy.discard(role.name)
            if self._asked.is_set():
                _log.info("drain.role_empty", role=role.name, state=self.state, busy=self.busy)
                await stop.wait()

        return run


def router(drain: Drain) -> APIRouter:
    """`POST /drain` (scope mesh.admin) and `GET /drain` (mesh.read)."""
    routes = APIRouter(prefix="/drain", tags=["draining"])

    @routes.post("", status_code=202, summary="Take no new work; there is no way back")
    async def ask(_: Annotated[Principal, Depends(require("mesh.admin"))]) -> dict[str, Any]:
        drain.ask()
        return {"state": drain.state, "busy": drain.busy}

    @routes.get("", summary="What the process still holds")
    async def show(_: Annotated[Principal, Depends(require("mesh.read"))]) -> dict[str, Any]:
        return {"state": drain.state, "busy": drain.busy}

    return routes


async def _set_by_either(own: asyncio.Event, *others: asyncio.Event) -> None:
    waiting = [asyncio.create_task(each.wait()) for each in others]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        own.set()
    finally:
        for task in waiting:
            task.cancel()
