"""What stands in for graph-adapter and the tenant behind it: takes commands from Apache Kafka, answers each at once.

Owns the little a joiner of the made-up office needs to be proven by reading back. Users whose employee id begins with
HELD never come to be: their command is kept without an answer, so their plans stay in flight.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer

from mesh_messaging.binding_kafka import to_headers
from mesh_messaging.event import CloudEvent
from mesh_messaging.kafka import KafkaSettings, make_producer

COMMANDS = ("ucmesh.graph.commands.v1", "ucmesh.graph-bulk.commands.v1")
PLANS = "ucmesh.plans.v1"
SUCCEEDED = b"ucmesh.plans.plan.v1.succeeded"
COMPLETED = "ucmesh.graph.operation.v1.completed"
HELD = "HELD"
RECORDS_MAX = 1_000

Params = Mapping[str, Any]
Answer = tuple[dict[str, Any], dict[str, Any] | None]


@dataclass(slots=True)
class StandIn:
    """`held` counts plans that wait for their user, `answered` all replies sent, `succeeded` what the orchestrator says
    of its plans.
    """

    kafka: KafkaSettings
    held: int = 0
    answered: int = 0
    succeeded: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def run(self) -> None:
        """Until it is cancelled. `ready` is set once nothing that is sent from then on can be missed."""
        consumer = AIOKafkaConsumer(
            *COMMANDS, PLANS, bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="latest"
        )
        producer = make_producer(self.kafka)
        await asyncio.gather(consumer.start(), producer.start())
        try:
            await consumer.seek_to_end()
            self.ready.set()
            while True:
                polled = await consumer.getmany(timeout_ms=200, max_records=RECORDS_MAX)
                sent = []
                for record in (each for part in polled.values() for each in part):
                    if record.topic == PLANS:
                        self.succeeded += ("ce_type", SUCCEEDED) in record.headers
                        continue
                    command = orjson.loads(record.value)
                    reply = self._reply(command)
                    if reply is not None:
                        key, headers = str(command["plan_id"]).encode(), to_headers(reply)
                        sent.append(await producer.send(command["reply_to"], reply.data, key=key, headers=headers))
                await asyncio.gather(*sent)
                self.answered += len(sent)
        finally:
            await asyncio.gather(consumer.stop(), producer.stop())

    def _reply(self, command: Mapping[str, Any]) -> CloudEvent | None:
        name, params = command["operation"], command["params"]
        if name == "user.ensure" and params["employee_id"].startswith(HELD):
            self.held += 1
            return None
        output, undo = getattr(self, "_" + name.replace(".", "_").replace("-", "_"))(params)
        now = datetime.now(UTC)
        data = {name: command[name] for name in ("operation_id", "plan_id", "operation", "version", "tenant_id")} | {
            "outcome": "succeeded",
            "changed": undo is not None,
            "output": output,
            "undo": undo,
            "error": None,
            "attempts": 1,
            "started_at": now.isoformat(),
            "finished_at": now.isoformat(),
            "request_ids": [str(uuid.uuid4())],
        }
        body = orjson.dumps(data)
        return CloudEvent(str(uuid.uuid4()), "/stand-in", COMPLETED, now, None, command["tenant_id"], body)

    def _user_observe(self, _params: Params) -> Answer:
        return {"user": None, "taken": []}, None

    def _user_ensure(self, params: Params) -> Answer:
        user_id, upn = str(uuid.uuid4()), params["user_principal_name"]
        user = {"id": user_id, "userPrincipalName": upn, "employeeId": params["employee_id"], **params["attributes"]}
        self.users[user_id] = {"user": user | {"assignedLicenses": []}, "manager_id": None, "group_ids": []}
        undo = _undo("user.delete", {"user_id": user_id, "employee_id": params["employee_id"]})
        return {"user_id": user_id, "user_principal_name": upn, "created": True}, undo

    def _licence_assign(self, params: Params) -> Answer:
        self.users[params["user_id"]]["user"]["assignedLicenses"] += params["add"]
        return {}, _undo("licence.assign", {**params, "add": [], "remove": [one["skuId"] for one in params["add"]]})

    def _group_add_member(self, params: Params) -> Answer:
        self.users[params["user_id"]]["group_ids"].append(params["group_id"])
        return {}, _undo("group.remove-member", params)

    def _user_set_manager(self, params: Params) -> Answer:
        self.users[params["user"]]["manager_id"] = params["manager"]
        return {"former_manager_id": None}, _undo("user.remove-manager", {"user": params["user"]})

    def _user_get(self, params: Params) -> Answer:
        return self.users.pop(params["user"]), None

    def _tenant_observe(self, _params: Params) -> Answer:
        raise NotImplementedError("the benchmark is over before a tenant is read again")


def _undo(operation: str, params: Params) -> dict[str, Any]:
    return {"operation": operation, "version": 1, "params": dict(params)}
