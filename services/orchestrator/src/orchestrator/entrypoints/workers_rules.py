"""The rules' background work: read tenants whose turn it is, start people whose tenant became ready.

Owns waking and pacing. Refuses decisions. Woken by the database when a tenant changed; polls slowly as a net.
"""

import asyncio

from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause
from orchestrator.application import Rules, observe_tenants, start_waiting_people

POLL_SECONDS = 5.0
BACKOFF_SECONDS = 1.0

_log = get_logger("orchestrator.workers")


class RulesWorker:
    """`channel` is notified whenever a tenant became ready, was read, or is due to be read."""

    def __init__(self, rules: Rules, db: Database, *, channel: str, observe_every_seconds: float) -> None:
        self._rules = rules
        self._db = db
        self._channel = channel
        self._observe_every_seconds = observe_every_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; a database that is away is waited for."""
        wake = asyncio.Event()
        stopping = asyncio.create_task(_set_when(stop, wake))
        try:
            async with self._db.raw_listen(self._channel, lambda _payload: wake.set()):
                while not stop.is_set():
                    wake.clear()
                    await self._work(stop)
                    await pause(wake, POLL_SECONDS)
        finally:
            stopping.cancel()

    async def _work(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set() and await self._step():
                pass
        except MeshError as error:
            if not error.retryable:
                raise
            _log.warning("workers.database_away", reason=error.message)
            await pause(stop, BACKOFF_SECONDS)

    async def _step(self) -> int:
        """One batch of each kind; 0 when there is nothing left to do now."""
        asked = await observe_tenants(self._rules, self._db, every_seconds=self._observe_every_seconds)
        return asked + await start_waiting_people(self._rules, self._db)


async def _set_when(stop: asyncio.Event, wake: asyncio.Event) -> None:
    await stop.wait()
    wake.set()
