"""Through the front door: commands and credentials over Apache Kafka, replies back, what cannot be read set aside."""

import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from mesh_messaging.envelope import new_event, to_headers
from mesh_messaging.kafka import KafkaSettings, make_producer, wait_until_ready
from mesh_messaging.names import dead_letter_topic
from mesh_runtime.clock import SystemClock, Uuid7Ids
from mesh_runtime.sealing import SealingKey, seal_for
from pwsh_gateway import main, wire
from support.gateway import NUMBER, REPLIES, TENANT, ZOE, Gateway, Script, assign, command, make_gateway
from support.messaging import read_topic, running
from support.topics import make_topics
from support.waiting import eventually

KEY = SealingKey.generate("pwsh-gateway")
CONSUMED = (wire.COMMANDS_TOPIC, wire.BULK_COMMANDS_TOPIC, wire.CERTIFICATES_TOPIC)
TOPICS = (*CONSUMED, wire.SESSIONS_TOPIC, REPLIES)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path)
    script.users(**{ZOE: {"Identity": "id-zoe", "LineURI": None}})
    return script


@pytest.fixture
async def gateway(postgres_url: str, kafka_bootstrap: str, script: Script, tmp_path: Path) -> AsyncIterator[Gateway]:
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps(KEY.private_jwk))
    gateway = await make_gateway(
        postgres_url, script.command(), tmp_path, kafka_bootstrap=kafka_bootstrap, sealing_key_file=key_file
    )
    kafka = kafka_of(gateway)
    letters = [dead_letter_topic(topic, "pwsh-gateway") for topic in CONSUMED]
    await make_topics(kafka, dict.fromkeys([*TOPICS, *letters], 12))
    await wait_until_ready(kafka, [*TOPICS, *letters], 20)
    yield gateway
    await gateway.db.close()


def kafka_of(gateway: Gateway) -> KafkaSettings:
    return KafkaSettings.from_service(gateway.parts.settings, "test")


async def records(gateway: Gateway, topic: str) -> list[Any]:
    """Everything in a topic, however many partitions somebody gave it before us."""
    admin = AIOKafkaAdminClient(bootstrap_servers=gateway.parts.settings.kafka_bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return await read_topic(kafka_of(gateway), topic, len(described["partitions"]))


@contextlib.asynccontextmanager
async def whole(gateway: Gateway) -> AsyncIterator[None]:
    """Consumer, relay and worker, as one process runs them."""
    roles = [main.consumer_role(gateway.parts).run, main.relay_role(gateway.parts).run, gateway.worker().run]
    async with running(*roles):
        yield


async def send(
    gateway: Gateway, topic: str, event_type: str, *payloads: Mapping[str, Any], source: str = "/test"
) -> None:
    producer = make_producer(kafka_of(gateway))
    await producer.start()
    try:
        for payload in payloads:
            event = new_event(event_type, source, payload, tenant=TENANT, ids=Uuid7Ids(), clock=SystemClock())
            key = f"{TENANT}:{payload.get('target', '')}".encode()
            await producer.send_and_wait(topic, event.data, key=key, headers=to_headers(event))
    finally:
        await producer.stop()


def delivered(credential_id: uuid.UUID, bundle: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    jwe = seal_for(KEY.public_jwk, json.dumps(bundle).encode(), context=f"credential:{credential_id}")
    payload = {
        "credential_id": str(credential_id), "tenant_id": TENANT, "customer": "northwind",
        "client_id": str(uuid.uuid4()), "application_object_id": str(uuid.uuid4()),
        "organization": "northwind.onmicrosoft.com", "cloud": "commercial", "kind": "certificate",
        "thumbprint": "A" * 40, "not_before": now.isoformat(), "not_after": (now + timedelta(days=90)).isoformat(),
        "sealed": {"pwsh-gateway": jwe},
    }  # fmt: skip
    return payload | changes


def activated(credential_id: uuid.UUID) -> dict[str, Any]:
    return {
        "credential_id": str(credential_id), "tenant_id": TENANT, "kind": "certificate", "thumbprint": "A" * 40,
        "not_after": datetime.now(UTC).isoformat(), "workloads": {"teams": "verified"},
    }  # fmt: skip


BUNDLE = {
    "pfx": base64.b64encode(b"pfx").decode(),
    "password": "s3cret",
    "certificate_pem": "x",
    "private_key_pem": "y",
}


async def replies(gateway: Gateway, *payloads: Mapping[str, Any]) -> list[dict[str, Any]]:
    wanted = [payload["operation_id"] for payload in payloads]

    async def there() -> list[dict[str, Any]] | None:
        found = {}
        for record in await records(gateway, REPLIES):
            body = json.loads(record.value)
            found[body["operation_id"]] = body
        return [found[one] for one in wanted] if set(wanted) <= set(found) else None

    return await eventually(there, seconds=30, every_seconds=0.2) or []


async def test_a_canary_then_the_work_with_the_activated_credential(gateway: Gateway, script: Script) -> None:
    credential = uuid.uuid4()
    probe = command("teams.tenant.probe", params={}, target=TENANT, credential=str(credential))
    work = assign(plan_id=str(uuid.uuid4()))
    async with whole(gateway):
        # The canary may overtake the credential: they come over different topics.
        await send(gateway, wire.COMMANDS_TOPIC, wire.EXECUTE, probe)
        await send(gateway, wire.CERTIFICATES_TOPIC, wire.DELIVERED, delivered(credential, BUNDLE))
        (probed,) = await replies(gateway, probe)
        await send(gateway, wire.CERTIFICATES_TOPIC, wire.ACTIVATED, activated(credential))
        await send(gateway, wire.COMMANDS_TOPIC, wire.EXECUTE, work)
        (done,) = await replies(gateway, work)
    assert probed["outcome"] == "succeeded"
    assert (done["outcome"], done["changed"]) == ("succeeded", True)
    assert script.user()["LineURI"] == f"tel:{NUMBER}"
    kinds = [json.loads(record.value)["reason"] for record in await records(gateway, wire.SESSIONS_TOPIC)]
    assert "canary" in kinds
    (row,) = await gateway.rows("SELECT sealed FROM credential")
    assert b"s3cret" not in bytes(row.sealed)


async def test_what_cannot_be_understood_is_set_aside_and_the_rest_goes_on(gateway: Gateway) -> None:
    credential = uuid.uuid4()
    tampered = delivered(credential, BUNDLE)
    tampered["sealed"]["pwsh-gateway"] = tampered["sealed"]["pwsh-gateway"][:-4] + "AAAA"
    for_others = delivered(uuid.uuid4(), BUNDLE, sealed={"graph-adapter": "x"}, kind="client_secret", thumbprint=None)
    broken = command("teams.user.get") | {"operation": "Get-CsOnlineUser; Get-Date"}
    refused = command("teams.user.get", params={"identity": "*"})
    async with whole(gateway):
        await send(gateway, wire.CERTIFICATES_TOPIC, wire.DELIVERED, tampered, for_others)
        await send(gateway, wire.CERTIFICATES_TOPIC, wire.FAILED, {"credential_id": None, "tenant_id": TENANT})
        await send(gateway, wire.COMMANDS_TOPIC, wire.EXECUTE, broken, refused)
        (reply,) = await replies(gateway, refused)
        await eventually(lambda: _two_letters(gateway), seconds=20)
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "invalid-params")
    types = {row.type for row in await gateway.rows("SELECT type FROM dead_letter")}
    assert types == {wire.EXECUTE, wire.DELIVERED}
    assert await gateway.rows("SELECT 1 FROM credential") == []


async def _two_letters(gateway: Gateway) -> bool:
    return len(await gateway.rows("SELECT DISTINCT type FROM dead_letter")) == 2


async def test_a_command_delivered_twice_runs_once_and_is_answered(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    work = assign()
    async with whole(gateway):
        await send(gateway, wire.COMMANDS_TOPIC, wire.EXECUTE, work, work)
        await replies(gateway, work)
        await send(gateway, wire.COMMANDS_TOPIC, wire.EXECUTE, work)
        await eventually(lambda: _answered_again(gateway, work), seconds=20, every_seconds=0.2)
    assert script.effects("Set-CsPhoneNumberAssignment") == 1


async def _answered_again(gateway: Gateway, work: Mapping[str, Any]) -> bool:
    bodies = [json.loads(record.value) for record in await records(gateway, REPLIES)]
    mine = [body for body in bodies if body["operation_id"] == work["operation_id"]]
    assert all(body == mine[0] for body in mine)
    return len(mine) >= 2


async def test_replicas_share_the_topic(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    users = {f"u{n}@northwind.example": {"Identity": str(n), "LineURI": None} for n in range(12)}
    script.users(**users)
    work = [assign(f"+4144555{n:04}", target=name) for n, name in enumerate(users)]
    second = replace(gateway, parts=replace(gateway.parts, instance=uuid.uuid4()))
    async with whole(gateway), whole(second):
        await send(gateway, wire.COMMANDS_TOPIC, wire.EXECUTE, *work)
        done = await replies(gateway, *work)
    assert all(reply["outcome"] == "succeeded" for reply in done)
    assert len(script.calls("Set-CsPhoneNumberAssignment")) == 12
