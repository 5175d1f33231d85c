"""A real service with the Kafka settings of the deployment: a command in, its reply out, its password nowhere shown."""

import asyncio
import base64
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from mesh_messaging.envelope import from_record, new_event, to_headers
from mesh_messaging.kafka import make_consumer, make_producer
from mesh_runtime.clock import SystemClock, Uuid7Ids
from mesh_runtime.sealing import SealingKey
from support.secured_broker import SecuredBroker
from support.waiting import eventually
from ucmesh_embedded.places import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(300)]

COMMANDS, REPLIES = "ucmesh.pwsh.commands.v1", "ucmesh.orchestrator.replies.v1"


async def test_a_command_reaches_the_real_service_and_its_reply_comes_back(
    broker: SecuredBroker, postgres_url: str, tmp_path: Path
) -> None:
    """The gateway with the settings of the deployment; an operation it does not know is refused by reply."""
    order = {
        "operation_id": str(uuid.uuid4()), "operation": "nothing.known", "version": 1, "tenant_id": str(uuid.uuid4()),
        "target": "t", "params": {}, "deadline": "2099-01-01T00:00:00Z", "reply_to": REPLIES,
        "plan_id": str(uuid.uuid4()), "lane": "normal",
    }  # fmt: skip
    event = new_event(
        "ucmesh.pwsh.operation.v1.execute", "/test", order, tenant=order["tenant_id"], ids=Uuid7Ids(),
        clock=SystemClock(),
    )  # fmt: skip
    orchestrator = broker.client("orchestrator")
    producer, consumer = make_producer(orchestrator), make_consumer(orchestrator, "orchestrator", [REPLIES])
    await producer.start()
    await consumer.start()

    async def reply() -> dict[str, Any] | None:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                answer = from_record(record.headers, record.value).json() if record.headers else {}
                if answer.get("operation_id") == order["operation_id"]:
                    return dict(answer)
        return None

    try:
        async with gateway(broker, postgres_url, tmp_path) as log:
            await producer.send_and_wait(COMMANDS, event.data, key=b"k", headers=to_headers(event))
            answer = await eventually(reply, seconds=30, what="the reply")
            assert answer is not None
            assert (answer["outcome"], answer["error"]["code"]) == ("refused", "unknown-operation"), answer
    finally:
        await producer.stop()
        await consumer.stop()
    assert (broker.passwords / "pwsh-gateway").read_text() not in log.read_text()


@contextlib.asynccontextmanager
async def gateway(broker: SecuredBroker, url: str, home: Path) -> AsyncIterator[Path]:
    """The gateway as a process, its password in a folder of secrets; yields its log."""
    (home / "sealing.json").write_bytes(orjson.dumps(SealingKey.generate("pwsh-gateway").private_jwk))
    key = base64.b64encode(bytes(32)).decode()
    (home / "kek.json").write_bytes(orjson.dumps({"active": "k1", "keys": {"k1": key}}))
    secured = broker.environment("PWSH_GATEWAY_", "pwsh-gateway")
    (home / "pwsh_gateway_kafka_sasl_password").write_text(secured.pop("PWSH_GATEWAY_KAFKA_SASL_PASSWORD"))
    own = {
        "SECRETS_DIR": str(home),
        "DATABASE_URL": url,
        "OIDC_ISSUER": "https://localhost:1",
        "HTTP_PORT": str(free_port()),
        "KEK_FILE": str(home / "kek.json"),
        "SEALING_KEY_FILE": str(home / "sealing.json"),
        "BACKEND": "simulated",
    }
    env = {**os.environ, **{f"PWSH_GATEWAY_{name}": value for name, value in own.items()}, **secured}
    log = home / "log"
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pwsh_gateway", env=env, stdout=out, stderr=out
        )
    try:
        yield log
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
