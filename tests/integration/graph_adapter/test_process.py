"""The whole service as a process: Kafka in, Microsoft Graph, Kafka out; health; settings; signals."""

import asyncio
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from mesh_messaging.envelope import from_record, new_event, to_headers
from mesh_messaging.kafka import KafkaSettings
from mesh_runtime.clock import SystemClock, Uuid7Ids
from mesh_runtime.sealing import seal_for
from support.graph_process import environment, process
from support.graph_rig import ensure
from support.simulated import Simulator, Tenant
from support.topics import make_topics
from support.waiting import eventually
from ucmesh_embedded.places import free_port

COMMANDS, CERTIFICATES, REPLIES = "ucmesh.graph.commands.v1", "ucmesh.certificates.v1", "ucmesh.orchestrator.replies.v1"
BULK_COMMANDS = "ucmesh.graph-bulk.commands.v1"


class Messages:
    """A producer and a consumer of one's own."""

    def __init__(self, bootstrap: str) -> None:
        self.settings = KafkaSettings(bootstrap)
        self.ids, self.clock = Uuid7Ids(), SystemClock()
        self.seen: list[dict[str, Any]] = []

    async def __aenter__(self) -> "Messages":
        dead = {f"{topic}.graph-adapter.dlq": 1 for topic in (COMMANDS, BULK_COMMANDS, CERTIFICATES)}
        await make_topics(self.settings, dict.fromkeys((COMMANDS, BULK_COMMANDS, CERTIFICATES, REPLIES), 12) | dead)
        self.producer = self.settings.make_producer()
        self.consumer = self.settings.make_consumer(f"test-{uuid.uuid4()}", [REPLIES])
        await self.producer.start()
        await self.consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()
        await self.consumer.stop()

    async def publish(self, topic: str, kind: str, key: str, data: dict[str, Any]) -> None:
        event = new_event(kind, "/test", data, tenant=data["tenant_id"], ids=self.ids, clock=self.clock)
        await self.producer.send_and_wait(topic, event.data, key=key.encode(), headers=to_headers(event))

    async def reply(self, operation_id: str) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            for records in (await self.consumer.getmany(timeout_ms=50)).values():
                for record in records:
                    self.seen.append(from_record(record.headers, record.value).json())
            return next((item for item in self.seen if item["operation_id"] == operation_id), None)

        return await eventually(found, seconds=60, what=f"reply of {operation_id}") or {}


async def activate(messages: Messages, tenant: Tenant, home: Path) -> None:
    credential_id = str(uuid.uuid4())
    public = orjson.loads((home / "public.json").read_bytes())
    jwe = seal_for(public, orjson.dumps({"client_secret": tenant.secret}), context=f"credential:{credential_id}")
    common = {
        "credential_id": credential_id,
        "tenant_id": tenant.tenant_id,
        "kind": "client_secret",
        "thumbprint": None,
    }
    delivered = common | {
        "customer": "northwind", "client_id": tenant.client_id, "application_object_id": tenant.object_id,
        "organization": "northwind.onmicrosoft.com", "cloud": "commercial", "not_before": None, "not_after": None,
        "sealed": {"graph-adapter": jwe},
    }  # fmt: skip
    activated = common | {"not_after": None, "workloads": {"graph": "verified"}}
    await messages.publish(CERTIFICATES, "ucmesh.certs.credential.v1.delivered", tenant.tenant_id, delivered)
    await messages.publish(CERTIFICATES, "ucmesh.certs.credential.v1.activated", tenant.tenant_id, activated)


def command(tenant: Tenant, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "operation_id": str(uuid.uuid4()), "operation": operation, "version": 1, "tenant_id": tenant.tenant_id,
        "target": "t", "params": params, "deadline": "2099-01-01T00:00:00Z", "reply_to": REPLIES,
        "plan_id": str(uuid.uuid4()), "lane": "normal",
    }  # fmt: skip


@pytest.mark.timeout(240)
@pytest.mark.kafka
async def test_from_a_command_on_kafka_to_its_reply_and_through_a_kill(
    simulator: Simulator, tenant: Tenant, postgres_url: str, kafka_bootstrap: str, tmp_path: Path
) -> None:
    port = free_port()
    env = environment(simulator, postgres_url, kafka_bootstrap, tmp_path, port)
    log = tmp_path / "log"
    async with Messages(kafka_bootstrap) as messages, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        await activate(messages, tenant, tmp_path)
        async with process(env, log=log) as child:
            order = command(tenant, "user.ensure", ensure(tenant, "ada"))
            await messages.publish(COMMANDS, "ucmesh.graph.operation.v1.execute", f"{tenant.tenant_id}:t", order)
            reply = await messages.reply(order["operation_id"])
            assert reply["outcome"] == "succeeded", reply
            assert (await http.get("/health/ready")).json() == {"status": "ready", "checks": {"database": "ok"}}
            assert (await http.get("/operations")).status_code == 401
            child.send_signal(signal.SIGHUP)
            await eventually(lambda: b"templates.reloaded" in log.read_bytes(), what="the reload")
            # Killed in the middle of the next one, after the write.
            child.kill()
        async with process({**env, "UCMESH_FAULTS": "graph.answered@1=kill"}, "consumer", "worker", log=log) as dying:
            second = command(tenant, "user.ensure", ensure(tenant, "grace"))
            await messages.publish(COMMANDS, "ucmesh.graph.operation.v1.execute", f"{tenant.tenant_id}:t", second)
            assert await asyncio.wait_for(dying.wait(), 60) == -signal.SIGKILL
        async with process(env, log=log) as child:
            reply = await messages.reply(second["operation_id"])
            assert (reply["outcome"], reply["output"]["created"], reply["undo"]["operation"]) == (
                "succeeded", True, "user.delete",
            )  # fmt: skip
            assert len([u for u in tenant.state("users") if u["employeeId"] == "NW-grace"]) == 1
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 15) == 0
    text = log.read_text()
    assert tenant.secret not in text
    assert "passwordProfile" not in text


async def test_a_missing_setting_is_named_and_values_are_not_shown(tmp_path: Path) -> None:
    env = {**os.environ, "GRAPH_ADAPTER_DATABASE_URL": "mysql://user:hunter2@x/y"}
    log = tmp_path / "log"
    async with process(env, log=log) as child:
        assert await asyncio.wait_for(child.wait(), 120) == 2
    text = log.read_text()
    assert "GRAPH_ADAPTER_SEALING_KEY_FILE" in text
    assert "GRAPH_ADAPTER_DATABASE_URL" in text
    assert "hunter2" not in text
