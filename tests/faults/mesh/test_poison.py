"""A poison message at every consumer of every service: put aside with its reason, and the rest goes on."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import generate
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

import cert_manager.entrypoints.consumer
import graph_adapter.entrypoints.consumer
import orchestrator.entrypoints.consumer
import pwsh_gateway.entrypoints.consumer
from mesh_messaging.envelope import CloudEvent, to_headers
from support import declared, joiners
from support.mesh import Mesh, running
from support.real_parts import server_folder
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TOPICS = {topic["topic"]: topic for topic in generate.load_topics()}
UNKNOWN = "ucmesh.stranger.thing.v1.done"
HANDLED = {
    "orchestrator": orchestrator.entrypoints.consumer.handlers(None, None),
    "graph-adapter": graph_adapter.entrypoints.consumer.handlers(None, None, None),
    "pwsh-gateway": pwsh_gateway.entrypoints.consumer.handlers(None, None),
    "cert-manager": cert_manager.entrypoints.consumer.handlers(None, None, None),
}
CONSUMERS = [(topic, name) for topic, facts in TOPICS.items() for name in facts["consumers"] if name in HANDLED]


@pytest.fixture(scope="module")
def poisoned() -> Iterator[Mesh]:
    """A mesh of this file's own: its dead letters would be found by others."""
    with server_folder() as folder, running(folder / "home", joiners.options()) as mesh:
        yield mesh


def test_every_type_that_is_handled_has_its_poison() -> None:
    assert {name for _, name in CONSUMERS} == set(HANDLED)
    for name, table in HANDLED.items():
        assert set(table) <= {kind for topic, consumer in CONSUMERS if consumer == name for kind in types(topic)}, name


def types(topic: str) -> list[str]:
    return [message["type"] for message in TOPICS[topic]["messages"]]


def poison(topic: str, consumer: str) -> tuple[list[dict[str, Any]], int]:
    """Records for one partition, harmless ones of a type nobody knows among them; and how many will be put aside."""
    wrong = [kind for kind in types(topic) if kind in HANDLED[consumer]]
    records: list[dict[str, Any]] = [
        {"value": b"\xff\xfe\x00 neither an event nor JSON"},
        {"value": b'{"an": "object"}', "headers": [("content-type", b"application/cloudevents+json")]},
        {"value": None},
    ]
    records += [record(kind, b'{"nonsense": ') for kind in wrong]
    records += [record(kind, b'{"nonsense": true}') for kind in wrong]
    return [*records, record(UNKNOWN, b'{"of": "a later release"}')], len(records)


def record(kind: str, data: bytes) -> dict[str, Any]:
    event = CloudEvent(f"poison-{uuid.uuid4().hex}", "/test", kind, datetime(2026, 1, 1, tzinfo=UTC), None, None, data)
    return {"value": data, "headers": to_headers(event)}


@pytest.mark.parametrize(("topic", "consumer"), CONSUMERS, ids=lambda value: value)
async def test_poison_is_put_aside_with_its_reason_and_the_rest_goes_on(
    poisoned: Mesh, topic: str, consumer: str
) -> None:
    records, count = poison(topic, consumer)
    async with producer(poisoned) as sending:
        for each in records:
            await sending.send_and_wait(topic, key=consumer.encode(), partition=0, **each)
    with poisoned.client(consumer) as client:

        def letters() -> list[dict[str, Any]]:
            found = client.get("/dead-letters", params={"topic": topic, "limit": 500}).raise_for_status().json()
            return [letter for letter in found["items"] if letter["key"] == consumer]

        found = await eventually(lambda: letters() if len(letters()) == count else None, what="the letters")
        assert all(letter["state"] == "open" and letter["reason_code"] and letter["reason"] for letter in found)
        assert UNKNOWN not in {letter["type"] for letter in found}
        group = declared.services()[consumer].group_of(topic)
        await eventually(lambda: caught_up(poisoned, topic, group), what="the rest of the topic")
        letter = next(letter for letter in found if letter["type"])
        client.post(f"/dead-letters/{letter['id']}/replay").raise_for_status()

        def replayed() -> bool:
            now = client.get(f"/dead-letters/{letter['id']}").raise_for_status().json()
            return now["state"] == "open" and now["updated_at"] > letter["updated_at"]

        await eventually(replayed, what="the replay, which fails as before")


@contextlib.asynccontextmanager
async def producer(mesh: Mesh) -> AsyncIterator[AIOKafkaProducer]:
    sending = AIOKafkaProducer(bootstrap_servers=mesh.endpoints.kafka)
    await sending.start()
    try:
        yield sending
    finally:
        await sending.stop()


async def caught_up(mesh: Mesh, topic: str, group: str) -> bool:
    """Whether the consumer has committed everything of the topic that was sent."""
    place = TopicPartition(topic, 0)
    client = AIOKafkaConsumer(bootstrap_servers=mesh.endpoints.kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=mesh.endpoints.kafka)
    await client.start()
    await admin.start()
    try:
        ends = await client.end_offsets([place])
        committed = await admin.list_consumer_group_offsets(group)
        return place in committed and committed[place].offset == ends[place]
    finally:
        await client.stop()
        await admin.close()
