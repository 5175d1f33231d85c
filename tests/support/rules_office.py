"""The orchestrator's rules and plans on a real database, with tenants in memory: send HR events, let everything happen.

Owns the loop that Apache Kafka, the adapters and the timers make in production. All messages go through the real
outbox, the real wire and the real handlers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import text

from mesh_messaging.envelope import CloudEvent
from mesh_messaging.message import InboundMessage
from mesh_messaging.testing import drain_outbox
from mesh_runtime import migrations
from mesh_runtime.clock import ManualClock, Uuid7Ids
from mesh_runtime.db import Database
from orchestrator.adapters.db.views import DatabaseViews
from orchestrator.application import apply_customer, fire_timers, observe_tenants, start_waiting_people
from orchestrator.application.apply_customer import Applied
from orchestrator.application.show_person import PersonShown, show_person
from orchestrator.domain.views import PersonView
from orchestrator.entrypoints.consumer import handlers
from orchestrator.entrypoints.hr_door import Bad, Result, take_request
from orchestrator.main import join
from orchestrator.participants.pacing import Pacing
from orchestrator.wire.customer import CustomerDocument, to_rows
from support.plan_script import START, TENANT
from support.rules_customer import document, observation
from support.rules_tenant import TenantDouble

COMPLETED = {f"ucmesh.{service}{lane}.commands.v1": service for service in ("graph", "pwsh") for lane in ("", "-bulk")}
ROUNDS_MAX = 200
TABLES = "hr_event, person, upn_reservation, number, seat_hold, seat_pool, tenant_ledger, tenant_group, tenant, \
configuration, customer, outbox, inbox, parked_message, dead_letter, plan, operation, gate_lag"


async def open_office(url: str) -> Office:
    await migrations.upgrade(url, "orchestrator")
    db = Database(url, application_name="test")
    async with db.transaction() as tx:
        await tx.execute(text(f"TRUNCATE {TABLES}"))
    return Office(db)


@dataclass
class Office:
    db: Database
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    tenants: dict[str, TenantDouble] = field(default_factory=dict)
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    deliveries: int = 0

    def __post_init__(self) -> None:
        self.ids = Uuid7Ids()
        self.parts = join(clock=self.clock, ids=self.ids, pacing=Pacing())
        self.handlers = handlers(self.parts.rules, self.parts.engine)

    @property
    def tenant(self) -> TenantDouble:
        return self.tenants[TENANT]

    async def apply(self, given: dict[str, Any] | None = None) -> Applied:
        parsed = CustomerDocument.model_validate(given or document())
        sealed = {tenant_id: f"sealed:{len(secret)}" for tenant_id, secret in parsed.secrets().items()}
        async with self.db.transaction() as tx:
            return await apply_customer(
                self.parts.rules, tx, parsed.to_domain(), to_rows(parsed), sealed_secrets=sealed, actor="test"
            )

    async def open_business(self, given: dict[str, Any] | None = None, **seats: int) -> None:
        """Customer applied, certificate there, tenant read."""
        await self.apply(given)
        for tenant in (given or document())["tenants"]:
            self.tenants[tenant["tenant_id"]] = TenantDouble(tenant["tenant_id"], observation(**seats))
            await self.credential(tenant["tenant_id"])
        await self.run()
        self.sent.clear()

    async def credential(self, tenant_id: str = TENANT, *, fails: str | None = None) -> None:
        data = {"tenant_id": tenant_id, "credential_id": "33333333-0000-4000-8000-000000000001", "kind": "certificate"}
        if fails:
            data |= {"code": fails, "message": f"it failed: {fails}", "remedy": "look"}
        else:
            data |= {"not_after": "2027-11-25T00:00:00Z", "thumbprint": None, "workloads": {}}
        action = "failed" if fails else "activated"
        await self.deliver("ucmesh.certificates.v1", tenant_id, f"ucmesh.certs.credential.v1.{action}", data)

    async def hr(self, *items: CloudEvent | Bad) -> list[Result]:
        """The HTTP door."""
        async with self.db.transaction() as tx:
            return await take_request(self.parts.rules, tx, items, is_batch=len(items) > 1)

    async def kafka(self, *events: CloudEvent) -> None:
        """The Kafka door: one batch."""
        messages = [self._message("ucmesh.hr.lifecycle.v1", event.subject or "", event) for event in events]
        async with self.db.transaction() as tx:
            await self.handlers[events[0].type](tx, messages)

    async def deliver(self, topic: str, key: str, kind: str, data: dict[str, Any]) -> None:
        await self.deliver_all(topic, kind, [(key, data)])

    async def deliver_all(self, topic: str, kind: str, given: Sequence[tuple[str, dict[str, Any]]]) -> None:
        messages = [self._message(topic, key, self._event(kind, data)) for key, data in given]
        async with self.db.transaction() as tx:
            await self.handlers[kind](tx, messages)

    async def run(self) -> None:
        """Until nothing happens any more: answers, timers, tenants, waiting people."""
        for _ in range(ROUNDS_MAX):
            happened = await self.answer()
            happened += (await fire_timers(self.parts.engine, self.db)).count
            happened += await observe_tenants(self.parts.rules, self.db, every_seconds=900)
            happened += await start_waiting_people(self.parts.rules, self.db)
            if not happened and not await self._skip_to_next_timer():
                return
        raise AssertionError("it does not come to rest")

    async def answer(self) -> int:
        """Answer all commands that are out, in one batch per service."""
        async with self.db.transaction() as tx:
            messages = await drain_outbox(tx)
        replies: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for message in messages:
            data = orjson.loads(message.event.data)
            self.sent.append((message.event.type, data))
            if message.topic in COMPLETED:
                replies.setdefault(COMPLETED[message.topic], []).append(self._reply(data))
        for service, given in replies.items():
            await self.deliver_all("ucmesh.orchestrator.replies.v1", f"ucmesh.{service}.operation.v1.completed", given)
        return len(replies)

    async def person(self, employee_id: str = "NW-1", customer: str = "northwind") -> PersonView:
        return (await self.shown(employee_id, customer)).person

    async def shown(self, employee_id: str = "NW-1", customer: str = "northwind") -> PersonShown:
        async with self.db.read() as tx:
            return await show_person(DatabaseViews(), tx, customer, employee_id)

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.db.read() as tx:
            return [tuple(row) for row in await tx.execute(text(statement))]

    def commands(self) -> list[str]:
        """Names of the operations sent, in order."""
        return [data["operation"] for kind, data in self.sent if kind.endswith("operation.v1.execute")]

    def _reply(self, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        answer = self.tenants[data["tenant_id"]].answer(data["operation"], data["params"])
        about = {name: data[name] for name in ("operation_id", "plan_id", "operation", "version", "tenant_id")}
        times = {"started_at": self.clock.now().isoformat(), "finished_at": self.clock.now().isoformat()}
        return str(data["plan_id"]), {**about, **answer, **times, "attempts": 1, "request_ids": []}

    async def _skip_to_next_timer(self) -> bool:
        [(due,)] = await self.rows("SELECT min(due_at) FROM plan WHERE due_at < now() + interval '100 years'")
        if due is None or (due - self.clock.now()).total_seconds() > 3_600:
            return False
        self.clock.advance(max((due - self.clock.now()).total_seconds(), 0) + 0.001)
        return True

    def _event(self, kind: str, data: dict[str, Any]) -> CloudEvent:
        return CloudEvent(
            id=str(self.ids.new()),
            source="/test",
            type=kind,
            time=self.clock.now(),
            subject=None,
            tenant=data.get("tenant_id"),
            data=orjson.dumps(data),
        )

    def _message(self, topic: str, key: str, event: CloudEvent) -> InboundMessage:
        self.deliveries += 1
        return InboundMessage(topic, 0, self.deliveries, key, event, self.clock.now())
