"""The graph adapter's worker in the test process, on a real PostgreSQL and against a simulated tenant."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter import wire
from graph_adapter.adapters.db.statements import CHANNEL
from graph_adapter.adapters.db.unit_of_work import DatabaseStore
from graph_adapter.adapters.graph.auth import MsalTokens
from graph_adapter.adapters.graph.client import GraphClient
from graph_adapter.adapters.observer import MeshObserver
from graph_adapter.adapters.templates import load_catalogue
from graph_adapter.adapters.vault import SealedVault
from graph_adapter.application.accept_operations import Desk
from graph_adapter.application.reload_templates import TemplateShelf
from graph_adapter.application.run_operations import RunPorts
from graph_adapter.domain.credential import Credential, CredentialSecret
from graph_adapter.domain.fairness import Limits
from graph_adapter.domain.progress import Pauses
from graph_adapter.domain.tray import Tray
from graph_adapter.entrypoints.consumer import handlers
from graph_adapter.entrypoints.workers import OperationWorker, Rhythm
from mesh_messaging.event import CloudEvent
from mesh_messaging.message import InboundMessage
from mesh_runtime import migrations
from mesh_runtime.clock import SystemClock, Uuid7Ids
from mesh_runtime.db import Database
from mesh_runtime.sealing import Sealer, SealingKey, seal_for
from support.simulated import Simulator, Tenant, make_certificate, pem_of, private_pem
from support.waiting import eventually

REPLIES = "ucmesh.orchestrator.replies.v1"
QUICK = Pauses(
    transient=(0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
    missing=(0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3),
    created_window_seconds=10,
    throttle_default_seconds=0.2,
)


@dataclass
class Rig:
    """Everything of the service but the roles around it; `working()` runs workers."""

    simulator: Simulator
    db: Database
    store: DatabaseStore
    vault: SealedVault
    sealing_key: SealingKey
    shelf: TemplateShelf
    graph: GraphClient
    ports: RunPorts
    limits: Limits = field(default_factory=Limits)
    lease_seconds: float = 5.0
    desk: Desk | None = None
    """Set while a worker runs that takes handed-over work; unset: everything is queued."""

    # messages in ------------------------------------------------------------------------------------------------------
    async def deliver(self, kind: str, *data: Mapping[str, Any], traceparent: str | None = None) -> None:
        """Hands messages to the service's own handler, in one transaction, as the consumer does."""
        async with self.db.transaction() as tx:
            await self._handle(tx, kind, *data, traceparent=traceparent)

    async def handle(self, tx: AsyncConnection, *orders: Mapping[str, Any]) -> None:
        """The same for commands, in a transaction that stays open."""
        await self._handle(tx, wire.EXECUTE, *orders)

    async def _handle(
        self, tx: AsyncConnection, kind: str, *data: Mapping[str, Any], traceparent: str | None = None
    ) -> None:
        messages = []
        for item in data:
            event = CloudEvent(
                str(uuid.uuid4()), "/test", kind, datetime.now(UTC), None, None, orjson.dumps(item), traceparent
            )
            messages.append(InboundMessage("topic", 0, 0, "key", event, datetime.now(UTC)))
        await handlers(self.store.on, self.vault, self.ports.clock, self.desk)[kind](tx, messages)

    async def credential(self, tenant: Tenant, plaintext: Mapping[str, str], kind: str) -> uuid.UUID:
        credential_id = uuid.uuid4()
        jwe = seal_for(self.sealing_key.public_jwk, orjson.dumps(plaintext), context=f"credential:{credential_id}")
        await self.deliver(
            wire.CREDENTIAL_DELIVERED,
            {
                "credential_id": str(credential_id),
                "tenant_id": tenant.tenant_id,
                "customer": "northwind",
                "client_id": tenant.client_id,
                "application_object_id": tenant.object_id,
                "organization": "northwind.onmicrosoft.com",
                "cloud": "commercial",
                "kind": kind,
                "thumbprint": None,
                "not_before": None,
                "not_after": None,
                "sealed": {"graph-adapter": jwe},
            },
        )
        return credential_id

    async def secret(self, tenant: Tenant, value: str | None = None) -> uuid.UUID:
        return await self.credential(tenant, {"client_secret": value or tenant.secret}, "client_secret")

    async def certificate(self, tenant: Tenant) -> tuple[uuid.UUID, str]:
        """A delivered certificate, and its base64 DER for registering it."""
        key, certificate = make_certificate("ucmesh")
        plaintext = {
            "certificate_pem": pem_of(certificate),
            "private_key_pem": private_pem(key),
            "pfx": "",
            "password": "",
        }
        credential_id = await self.credential(tenant, plaintext, "certificate")
        return credential_id, "".join(pem_of(certificate).splitlines()[1:-1])

    async def activate(self, tenant: Tenant, credential_id: uuid.UUID | None = None) -> None:
        credential_id = credential_id or await self.secret(tenant)
        data = {"credential_id": str(credential_id), "tenant_id": tenant.tenant_id}
        await self.deliver(wire.CREDENTIAL_ACTIVATED, data)

    # operations -------------------------------------------------------------------------------------------------------
    def order(self, tenant: Tenant, operation: str, params: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        return {
            "operation_id": str(uuid.uuid4()),
            "operation": operation,
            "version": 1,
            "tenant_id": tenant.tenant_id,
            "target": str(
                params.get("user_id") or params.get("user_principal_name") or params.get("user") or uuid.uuid4()
            ),
            "params": dict(params),
            "deadline": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(),
            "reply_to": REPLIES,
            **changes,
        }

    async def send(self, *orders: Mapping[str, Any], traceparent: str | None = None) -> None:
        await self.deliver(wire.EXECUTE, *orders, traceparent=traceparent)

    async def reply(self, operation_id: str, *, seconds: float = 20) -> dict[str, Any]:
        async def done() -> Mapping[str, Any] | None:
            async with self.store.read() as unit:
                found = await unit.operations.get(uuid.UUID(operation_id))
            return found.reply if found is not None else None

        return dict(await eventually(done, seconds=seconds, what=f"reply of {operation_id}") or {})

    async def replies(self, orders: Sequence[Mapping[str, Any]], *, seconds: float = 20) -> list[dict[str, Any]]:
        return [await self.reply(order["operation_id"], seconds=seconds) for order in orders]

    async def execute(
        self, tenant: Tenant, operation: str, params: Mapping[str, Any], **changes: Any
    ) -> dict[str, Any]:
        order = self.order(tenant, operation, params, **changes)
        await self.send(order)
        return await self.reply(order["operation_id"])

    async def succeed(
        self, tenant: Tenant, operation: str, params: Mapping[str, Any], **changes: Any
    ) -> dict[str, Any]:
        reply = await self.execute(tenant, operation, params, **changes)
        assert reply["outcome"] == "succeeded", reply["error"]
        return reply

    async def undo(self, tenant: Tenant, reply: Mapping[str, Any]) -> dict[str, Any]:
        undo = reply["undo"]
        return await self.succeed(tenant, undo["operation"], undo["params"])

    async def user(self, tenant: Tenant, local: str, **attributes: Any) -> str:
        """The id of a user made through the adapter."""
        reply = await self.succeed(tenant, "user.ensure", ensure(tenant, local, **attributes))
        return str(reply["output"]["user_id"])

    # workers ----------------------------------------------------------------------------------------------------------
    def worker(self) -> tuple[OperationWorker, asyncio.Event]:
        """One worker and what stops it."""
        stop = asyncio.Event()
        ports = replace(self.ports, stop=asyncio.Event())
        rhythm = Rhythm(0.05, self.lease_seconds, timedelta(days=7))
        listen = lambda callback: self.db.raw_listen(CHANNEL, callback)  # noqa: E731
        tray = Tray(uuid.uuid4(), 1000)
        self.desk = Desk(tray, self.limits, self.lease_seconds)
        return OperationWorker(ports, self.limits, Uuid7Ids(), listen, rhythm, tray=tray), stop

    @contextlib.asynccontextmanager
    async def working(self, count: int = 1) -> AsyncIterator[None]:
        """`count` workers run for the block; what is sent meanwhile is handed over to the last one."""
        tasks = []
        stops = []
        for _ in range(count):
            worker, stop = self.worker()
            tasks.append(asyncio.create_task(worker.run(stop)))
            stops.append(stop)
        try:
            yield
        finally:
            for stop in stops:
                stop.set()
            await asyncio.wait_for(asyncio.gather(*tasks), 20)
            self.desk = None

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.db.read() as tx:
            return list((await tx.execute(text(statement), values)).all())


def ensure(tenant: Tenant, local: str, **attributes: Any) -> dict[str, Any]:
    """Parameters of user.ensure."""
    return {
        "user_principal_name": f"{local}@{tenant.domain}",
        "employee_id": f"NW-{local}",
        "attributes": {"displayName": local.title(), "mailNickname": local, "usageLocation": "CH", **attributes},
    }


@contextlib.asynccontextmanager
async def rig(
    simulator: Simulator, url: str, *, graph_url: str | None = None, pauses: Pauses = QUICK
) -> AsyncIterator[Rig]:
    """A migrated service without a running worker."""
    await migrations.upgrade(url, "graph_adapter")
    clock, ids, observer = SystemClock(), Uuid7Ids(), MeshObserver()
    db = Database(url, pool_size_max=10, application_name="graph-adapter-test")
    store = DatabaseStore(db, observer, ids, clock)
    sealing_key = SealingKey.generate()
    vault = SealedVault(sealing_key, Sealer({"k1": bytes(32)}, "k1"))
    graph = GraphClient(ca_file=simulator.ca_file, timeout_seconds=5)
    shelf = TemplateShelf(load_catalogue)

    async def load(credential_id: uuid.UUID) -> tuple[Credential, CredentialSecret] | None:
        async with store.read() as unit:
            found = await unit.credentials.load(credential_id)
        return (found[0], vault.open(*found)) if found is not None else None

    tokens = MsalTokens(
        load,
        clock,
        login_url=simulator.base_url,
        graph_url=graph_url or f"{simulator.base_url}/v1.0",
        ca_file=simulator.ca_file,
    )
    ports = RunPorts(store, graph, tokens, shelf, observer, clock, pauses, 4, asyncio.Event())
    try:
        yield Rig(simulator, db, store, vault, sealing_key, shelf, graph, ports)
    finally:
        tokens.close()
        await graph.close()
        await db.close()
