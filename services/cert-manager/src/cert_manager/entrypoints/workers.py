"""The reconciler's loop: due tenants, woken by NOTIFY, with a poll as a net."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from cert_manager.application import Reconcile
from cert_manager.domain.ports import Units
from mesh_runtime.errors import Unavailable
from mesh_runtime.logs import get_logger

LEASE_SECONDS = 30.0
TENANTS_MAX = 20
POLL_SECONDS = 0.5

log = get_logger("cert_manager.worker")


class ReconcileWorker:
    """One role; run any number of replicas."""

    def __init__(
        self,
        units: Units,
        reconcile: Reconcile,
        listen: Callable[[Callable[[str], None]], AbstractAsyncContextManager[None]],
    ) -> None:
        self._units, self._reconcile, self._listen = units, reconcile, listen

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; a database that is away is waited for."""
        woken = asyncio.Event()
        async with self._listen(lambda _payload: woken.set()):
            while not stop.is_set():
                woken.clear()
                try:
                    busy = await self._round()
                except Unavailable as error:
                    log.warning("cert.database_unavailable", error=str(error))
                    busy = False
                if not busy:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(_either(stop, woken), POLL_SECONDS)

    async def _round(self) -> bool:
        async with self._units.begin() as unit:
            tenants = await unit.lease(TENANTS_MAX, LEASE_SECONDS)
        for tenant_id in tenants:
            await self._reconcile(tenant_id)
        return bool(tenants)


async def _either(stop: asyncio.Event, woken: asyncio.Event) -> None:
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(woken.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
