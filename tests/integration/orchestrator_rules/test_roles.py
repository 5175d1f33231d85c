"""The service's roles on the real Kafka and PostgreSQL: an HR event in, the first command out, drained on stop."""

import asyncio
import base64
from uuid import uuid4

import orjson
import pytest

from mesh_messaging.binding_kafka import from_record, to_headers
from mesh_messaging.kafka import KafkaSettings
from mesh_runtime import migrations
from mesh_runtime.clock import SystemClock
from mesh_runtime.db import Database
from mesh_runtime.health import Health
from mesh_runtime.sealing import SealingKey
from mesh_runtime.settings import SettingsError
from orchestrator import main
from orchestrator.settings import OrchestratorSettings
from support.rules_customer import hr_event
from support.rules_office import open_office
from support.topics import make_topics
from support.waiting import eventually

TOPICS = (
    "ucmesh.hr.lifecycle.v1",
    "ucmesh.orchestrator.replies.v1",
    "ucmesh.orchestrator-bulk.replies.v1",
    "ucmesh.certificates.v1",
    "ucmesh.graph.commands.v1",
    "ucmesh.pwsh.commands.v1",
    "ucmesh.certs.commands.v1",
    "ucmesh.plans.v1",
    "ucmesh.hr.lifecycle.v1.orchestrator.dlq",
)


@pytest.fixture
def settings(tmp_path, postgres_url, kafka_bootstrap):
    kek, jwk = tmp_path / "kek.json", tmp_path / "jwk.json"
    kek.write_text(orjson.dumps({"active": "k1", "keys": {"k1": base64.b64encode(bytes(32)).decode()}}).decode())
    jwk.write_text(orjson.dumps(SealingKey.generate().public_jwk).decode())
    return OrchestratorSettings(
        database_url=postgres_url,
        kafka_bootstrap=kafka_bootstrap,
        oidc_issuer="http://127.0.0.1:1",
        http_port=0,
        kek_file=kek,
        cert_manager_jwk_file=jwk,
    )


async def test_an_hr_event_from_kafka_becomes_a_command_on_kafka(settings, kafka_bootstrap, postgres_url):
    kafka = KafkaSettings(kafka_bootstrap)
    await make_topics(kafka, dict.fromkeys(TOPICS, 3))
    office = await open_office(postgres_url)
    await office.open_business()
    employee_id = f"NW-{uuid4().hex[:8]}"
    db = Database(postgres_url)
    roles = main._roles(settings, db, SystemClock(), verifier=None, health=Health({}))
    stop = asyncio.Event()
    running = [asyncio.create_task(roles[name].run(stop)) for name in ("consumer", "relay", "worker")]
    commands = kafka.make_consumer(f"test-{uuid4()}", ["ucmesh.graph.commands.v1"])
    producer = kafka.make_producer()
    await producer.start()
    await commands.start()
    try:
        event = hr_event(employee_id, event_id=str(uuid4()))
        await producer.send_and_wait(TOPICS[0], event.data, key=employee_id.encode(), headers=to_headers(event))

        async def command():
            polled = await commands.getmany(timeout_ms=200)
            for records in polled.values():
                for record in records:
                    found = from_record(record.headers, record.value).json()
                    if found["params"].get("employee_id") == employee_id:
                        return found
            return None

        found = await eventually(command, seconds=30, what="the observe command of the joiner")
        assert found["operation"] == "user.observe"
        assert found["params"]["upn_candidates"][0] == "zoe.muller@northwind.example"
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*running), 15)
        await commands.stop()
        await producer.stop()
        await db.close()
        await office.db.close()


def test_a_key_that_is_none_stops_the_start_with_the_variable_to_fix(tmp_path):
    (tmp_path / "jwk.json").write_text("{}")
    with pytest.raises(SettingsError, match="ORCHESTRATOR_CERT_MANAGER_JWK_FILE"):
        main.sealer_for(tmp_path / "jwk.json")


def test_a_secret_can_only_be_opened_by_cert_manager_for_its_tenant(tmp_path):
    key = SealingKey.generate()
    (tmp_path / "jwk.json").write_text(orjson.dumps(key.public_jwk).decode())
    sealed = main.sealer_for(tmp_path / "jwk.json")("tenant-1", "s3cret")
    assert key.open(sealed, context="bootstrap:tenant-1") == b"s3cret"


async def test_migrating_twice_is_migrating_once(fresh_database):
    url = fresh_database()
    await migrations.upgrade(url, "orchestrator")
    head = await migrations.current(url, "orchestrator")
    await migrations.upgrade(url, "orchestrator")
    assert await migrations.current(url, "orchestrator") == head is not None
