"""The plan engine on a real database with scripted rules and a scripted tenant: start plans, deliver, let time pass.

Owns the loop that Kafka, adapters and timers make in production. Commands leave through the real outbox and replies
come in through the real wire, so that both are exercised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import event, text

from mesh_messaging.envelope import CloudEvent
from mesh_messaging.outbox import OutboundMessage
from mesh_messaging.testing import drain_outbox
from mesh_runtime import migrations
from mesh_runtime.clock import ManualClock, SequentialIds
from mesh_runtime.db import Database
from orchestrator.adapters.db.plan_readings import DatabasePlanReadings
from orchestrator.adapters.db.plan_rows import DatabasePlanRows
from orchestrator.adapters.plan_messages import OutboxPlanMessages
from orchestrator.application.fire_timers import fire_timers
from orchestrator.application.plan_engine import PlanEngine
from orchestrator.application.start_plans import start_plans
from orchestrator.application.take_replies import take_replies
from orchestrator.domain.plan import Operation, Plan, PlanBuilder, PlanState
from orchestrator.domain.plan_ports import PlanSummary
from orchestrator.domain.plan_status import Dispatch, OperationStatus, Reply
from orchestrator.domain.ports import (
    LocalRequest,
    LocalResult,
    Observation,
    ObservationRequest,
    PlanningRequest,
    Refusal,
    SettledPlan,
    StartPlan,
)
from orchestrator.wire_plans import COMPLETED_TYPES, from_completed
from support.plan_script import START, TENANT, Behaviour, Tenant, op

Operations = Callable[[PlanningRequest], Sequence[Operation] | Refusal]


@dataclass(slots=True)
class ScriptedRules:
    """Planner, settlement, local operations and other replies, all scripted and all remembered."""

    operations: Operations
    settled: list[SettledPlan] = field(default_factory=list)
    unplanned: list[Reply] = field(default_factory=list)
    provisioned: dict[str, str] = field(default_factory=dict)
    asked: list[LocalRequest] = field(default_factory=list)
    observation: Observation | Refusal | None = None
    poison: str | None = None

    async def build(self, tx: Any, requests: Sequence[PlanningRequest]) -> Mapping[UUID, Plan | Refusal]:
        return {request.plan_id: self._plan(request) for request in requests}

    def _plan(self, request: PlanningRequest) -> Plan | Refusal:
        wanted = self.operations(request)
        if isinstance(wanted, Refusal):
            return wanted
        builder = PlanBuilder(
            plan_id=request.plan_id,
            customer="northwind",
            tenant_id=TENANT,
            employee_id="NW-1",
            person_id=request.person_id,
        )
        for operation in wanted:
            builder.add(operation)
        return builder.build(effects={"site": "zurich"})

    async def observe(self, tx: Any, requests: Sequence[ObservationRequest]) -> Mapping[UUID, Observation | Refusal]:
        answer = self.observation or Observation(TENANT, op("observe", name="test.observe"))
        return {request.plan_id: answer for request in requests}

    async def settle(self, tx: Any, settled: Sequence[SettledPlan]) -> None:
        self.settled.extend(settled)
        self.provisioned.update({each.employee_id: "id" for each in settled if each.state is PlanState.SUCCEEDED})

    async def resolve(self, tx: Any, requests: Sequence[LocalRequest]) -> Mapping[UUID, LocalResult]:
        self.asked.extend(requests)
        if self.poison in {request.params["employee_id"] for request in requests}:
            raise RuntimeError("the rules cannot handle this person")
        return {
            request.request_id: LocalResult("succeeded", {"user_id": self.provisioned[request.params["employee_id"]]})
            for request in requests
            if request.params["employee_id"] in self.provisioned
        }

    async def take(self, tx: Any, replies: Sequence[Reply]) -> None:
        self.unplanned.extend(replies)


class PlanMesh:
    """One database, one engine, a clock moved by hand, a tenant per plan."""

    def __init__(self, db: Database, operations: Operations, behaviours: Mapping[str, Behaviour] | None = None) -> None:
        self.db = db
        self.clock = ManualClock(START)
        self.ids = SequentialIds(7)
        self.rules = ScriptedRules(operations)
        self.readings = DatabasePlanReadings()
        self.behaviours = behaviours or {}
        self.tenants: dict[UUID, Tenant] = {}
        self.commands: list[OutboundMessage] = []
        self.notices: list[OutboundMessage] = []
        self.engine = PlanEngine(
            rows=DatabasePlanRows(),
            messages=OutboxPlanMessages(ids=self.ids, clock=self.clock),
            planner=self.rules,
            settlement=self.rules,
            local=self.rules,
            unplanned=self.rules,
            clock=self.clock,
            ids=self.ids,
        )

    def start_request(self, employee_id: str = "NW-1", **fields: Any) -> StartPlan:
        given: dict[str, Any] = {
            "plan_id": self.ids.new(),
            "person_id": self.ids.new(),
            "customer": "northwind",
            "tenant_id": TENANT,
            "employee_id": employee_id,
            "observe": op("observe", name="test.observe"),
            **fields,
        }
        return StartPlan(**given)

    async def start(self, *requests: StartPlan) -> list[UUID]:
        async with self.db.transaction() as tx:
            await start_plans(self.engine, tx, requests)
        return [request.plan_id for request in requests]

    async def collect(self) -> list[OutboundMessage]:
        """Take the outbox; returns the commands and keeps the plan events."""
        async with self.db.transaction() as tx:
            messages = list(await drain_outbox(tx))
        commands = [message for message in messages if message.event.type.endswith(".execute")]
        self.commands += commands
        self.notices += [message for message in messages if message.topic == "ucmesh.plans.v1"]
        return commands

    def answers(self, commands: Sequence[OutboundMessage]) -> list[CloudEvent]:
        """Completed events for commands, by the tenant of their plan; silence leaves one out."""
        found = []
        for message in commands:
            data = message.event.json()
            plan_id = UUID(data["plan_id"])
            tenant = self.tenants.setdefault(plan_id, Tenant(self.behaviours))
            command = Dispatch(
                UUID(data["operation_id"]),
                plan_id,
                "graph",
                data["operation"],
                1,
                data["params"],
                "zoe",
                self.clock.now(),
            )
            reply = tenant.answer(data["operation"].split(".")[1], command)
            if reply is not None:
                found.append(self.completed(message, reply))
        return found

    def completed(self, message: OutboundMessage, reply: Reply) -> CloudEvent:
        command = message.event.json()
        data = {
            **{key: value for key, value in asdict(reply).items() if key != "request_ids"},
            "plan_id": command["plan_id"],
            "operation": command["operation"],
            "version": 1,
            "request_ids": [f"r-{reply.operation_id}"],
        }
        kind = COMPLETED_TYPES[0] if "graph" in message.topic else COMPLETED_TYPES[1]
        now = self.clock.now()
        return CloudEvent(str(self.ids.new()), "/test", kind, now, None, TENANT, orjson.dumps(data))

    async def take(self, events: Sequence[CloudEvent]) -> None:
        """One poll of the consumer."""
        async with self.db.transaction() as tx:
            await take_replies(self.engine, tx, [from_completed(event) for event in events])

    async def deliver(self) -> int:
        """One turn: commands out, replies in. Returns the number of replies."""
        events = self.answers(await self.collect())
        if events:
            await self.take(events)
        return len(events)

    async def settle_down(self) -> None:
        """Deliver until nobody has anything to say without time passing."""
        while await self.deliver():
            pass

    async def tick(self) -> bool:
        """Time passes to the next due plan and the timers fire; False when nothing is due any more."""
        async with self.db.read() as tx:
            due = await self.engine.rows.next_due(tx)
        if due is None:
            return False
        self.clock.advance(max((due - self.clock.now()).total_seconds(), 0))
        await fire_timers(self.engine, self.db)
        return True

    async def run_to_end(self, turns_max: int = 500) -> None:
        """Deliver and let time pass until every plan has ended."""
        for _ in range(turns_max):
            await self.settle_down()
            if not await self.tick():
                return
        raise AssertionError("plans did not end")

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await fire_timers(self.engine, self.db)

    async def plan(self, plan_id: UUID) -> PlanSummary:
        async with self.db.read() as tx:
            found = await self.readings.one(tx, plan_id)
        assert found is not None
        return found

    async def state(self, plan_id: UUID) -> str:
        return (await self.plan(plan_id)).plan.state.value

    async def operations(self, plan_id: UUID) -> list[OperationStatus]:
        async with self.db.read() as tx:
            return await self.readings.operations(tx, plan_id)

    async def states(self, plan_id: UUID) -> dict[str, str]:
        return {row.key: row.state.value for row in await self.operations(plan_id) if row.key != "observe"}

    async def in_place(self, plan_id: UUID) -> set[str]:
        return {row.key for row in await self.operations(plan_id) if row.changed}

    def sent(self, plan_id: UUID | None = None) -> list[str]:
        """Names of all commands so far, optionally of one plan."""
        wanted = None if plan_id is None else str(plan_id)
        found = [message.event.json() for message in self.commands]
        return [data["operation"] for data in found if wanted in (None, data["plan_id"])]

    def announced(self, plan_id: UUID) -> list[str]:
        return [m.event.type.rsplit(".", 1)[1] for m in self.notices if m.event.subject == str(plan_id)]


async def open_database(url: str) -> Database:
    """A migrated database."""
    await migrations.upgrade(url, "orchestrator")
    return Database(url, pool_size_max=4, application_name="test")


async def empty(db: Database, tables: Collection[str] = ("plan", "operation", "gate_lag", "outbox")) -> None:
    """Forget what earlier tests left."""
    async with db.transaction() as tx:
        await tx.execute(text(f"TRUNCATE {', '.join(tables)} CASCADE"))


@contextmanager
def counted(db: Database, on_statement: Callable[[int], None] | None = None) -> Iterator[list[str]]:
    """The statements sent meanwhile; `on_statement` gets each one's number (from 1) and may raise instead of it."""
    statements: list[str] = []

    def before(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)
        if on_statement is not None:
            on_statement(len(statements))

    event.listen(db.engine.sync_engine, "before_cursor_execute", before)
    try:
        yield statements
    finally:
        event.remove(db.engine.sync_engine, "before_cursor_execute", before)


def joiner(_request: PlanningRequest) -> list[Operation]:
    """user -> licence -> number, user -> group."""
    return [op("user"), op("licence", "user"), op("group", "user"), op("number", "licence", target="pwsh")]


def later(mesh: PlanMesh, seconds: float) -> Any:
    return mesh.clock.now() + timedelta(seconds=seconds)
