"""The deployed Kafka: topics, rights and passwords applied by command; each user may do its own work and nothing else.

The broker runs deploy/kafka/{start.sh,server.properties}: TLS, SCRAM-SHA-512, KRaft's authorizer.
"""

import asyncio
import ssl
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from mesh_messaging.kafka import KafkaSettings, make_consumer, make_producer
from mesh_messaging.names import bulk_group, dead_letter_topic
from mesh_messaging.topics import Cluster, Declaration, Right, Topic, apply, load
from mesh_runtime.errors import Forbidden, Unavailable
from support.secured_broker import ADMIN, TOPICS, SecuredBroker, topics_command
from support.waiting import eventually
from ucmesh_embedded.topology import SERVICES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

FILE: dict[str, Any] = yaml.safe_load(TOPICS.read_text())["topics"]


def written_by(user: str) -> set[str]:
    own = {name for name, entry in FILE.items() if user in entry.get("producers", ())}
    return own | {dead_letter_topic(name, user) for name in consumed_by(user)}


def consumed_by(user: str) -> set[str]:
    return {name for name, entry in FILE.items() if user in entry.get("consumers", ())}


async def refused_writes(settings: KafkaSettings, topics: set[str]) -> set[str]:
    """Write one record to each; the topics where the brokers refused."""
    refused = set()
    producer = make_producer(settings)
    await producer.start()
    try:
        for topic in sorted(topics):
            try:
                await producer.send_and_wait(topic, b"{}", key=b"k")
            except TopicAuthorizationFailedError:
                refused.add(topic)
    finally:
        await producer.stop()
    return refused


async def read_as(settings: KafkaSettings, group: str, topics: set[str], *, until_refused: bool = False) -> None:
    """Join the group, read whatever is there, commit. Raises what the brokers refuse with, sooner or later."""
    consumer = make_consumer(settings, group, topics)
    try:
        await consumer.start()
        async with asyncio.timeout(60):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=100)
            await consumer.getmany(timeout_ms=100)
            while until_refused:
                await consumer.getmany(timeout_ms=100)
            await consumer.commit()
    finally:
        await consumer.stop()


def test_applying_again_changes_nothing(broker: SecuredBroker) -> None:
    again = topics_command(broker, "apply", TOPICS, "--replication", "1", "--prune")
    assert (again.returncode, again.stdout) == (0, "nothing to change\n"), again.stderr


def test_a_dry_run_shows_and_changes_nothing_and_a_refusal_holds_everything_back(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(TOPICS.read_text().replace("  partitions: 12", "  partitions: 13"))
    dry = topics_command(broker, "apply", file, "--replication", "1", "--dry-run")
    assert dry.returncode == 0
    assert "~ topic ucmesh.plans.v1: 12 -> 13 partitions (keys move)" in dry.stdout
    file.write_text(TOPICS.read_text().replace("  partitions: 12", "  partitions: 11").replace("[hr]", "[hr, more]"))
    refused = topics_command(broker, "apply", file, "--replication", "1")
    assert refused.returncode == 1
    assert "nothing was changed:\ntopic ucmesh.hr.lifecycle.v1 has 12 partitions, 11 are declared" in refused.stderr
    assert "+ right User:more" in refused.stdout
    assert topics_command(broker, "apply", TOPICS, "--replication", "1", "--prune").stdout == "nothing to change\n"


async def test_partitions_settings_and_rights_follow_the_file_and_pruning_removes_the_rest(
    broker: SecuredBroker,
) -> None:
    name = f"ucmesh.t{uuid.uuid4().hex[:8]}.v1"
    first = Declaration([Topic(name, 2, 1, {"retention.ms": "1000", "segment.ms": "60000"})])
    right = Right("User:hr", "Read", "Topic", name)
    second = Declaration([Topic(name, 3, 1, {"retention.ms": "2000"})], frozenset({right}))
    async with Cluster(broker.client(ADMIN)) as cluster:
        await apply(cluster, first)
        await apply(cluster, second)
        grown = Topic(name, 3, 1, {"retention.ms": "2000", "segment.ms": "60000"})

        # A broker says what it knows, which may be a moment behind what was done.
        async def followed() -> bool:
            state = await cluster.read()
            assert (state.topics.get(name), right in (state.rights or ())) == (grown, True)
            return True

        await eventually(followed, what="the topic as the file has it")
        whole = load(TOPICS).with_replication(1)
        pruned = await apply(cluster, whole, prune=True)
        assert [str(change) for change in pruned.changes] == [
            f"- right User:hr: Read Topic {name}",
            f"- topic {name} with its records",
        ]

        async def gone() -> bool:
            after = await cluster.read()
            assert name not in after.topics
            assert after.rights == whole.rights
            return True

        await eventually(gone, what="the topic and its right to go")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_does_its_own_work_and_nothing_else(broker: SecuredBroker, service: str) -> None:
    settings = broker.client(service)
    every = {topic.name for topic in load(TOPICS).topics}
    assert await refused_writes(settings, every) == every - written_by(service)
    await read_as(settings, service, consumed_by(service))
    if bulk := {name for name in consumed_by(service) if FILE[name].get("bulk")}:
        await read_as(settings, bulk_group(service), bulk)
    foreign = sorted(set(FILE) - consumed_by(service))
    for topic in foreign:
        with pytest.raises(TopicAuthorizationFailedError):
            await read_as(settings, service, {topic}, until_refused=True)
    other = next(name for name in SERVICES if name != service)
    with pytest.raises(GroupAuthorizationFailedError):
        await read_as(settings, other, consumed_by(service))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_change_topics_or_rights(broker: SecuredBroker, service: str) -> None:
    refused = topics_command(broker, "apply", TOPICS, "--replication", "1", user=service)
    assert refused.returncode == 1
    assert "Apache Kafka refuses" in refused.stderr
    assert f"{service} must be an administrator of the brokers" in refused.stderr


async def test_a_service_cannot_set_a_password(broker: SecuredBroker) -> None:
    async with Cluster(broker.client("graph-adapter")) as cluster:
        with pytest.raises(Forbidden):
            await cluster.set_password("orchestrator", "a" * 32)


async def test_hr_writes_its_topic_and_reads_nothing(broker: SecuredBroker) -> None:
    hr = broker.client("hr")
    assert await refused_writes(hr, set(FILE)) == set(FILE) - {"ucmesh.hr.lifecycle.v1"}
    with pytest.raises(GroupAuthorizationFailedError):
        await read_as(hr, "hr", {"ucmesh.hr.lifecycle.v1"})


async def test_the_lag_monitor_sees_lag_and_no_record(broker: SecuredBroker) -> None:
    place = TopicPartition("ucmesh.hr.lifecycle.v1", 0)
    user = "lag-monitor"
    monitor = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        group_id="orchestrator",
        enable_auto_commit=False,
        security_protocol="SASL_SSL",
        ssl_context=ssl.create_default_context(cafile=broker.ca_file),
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=user,
        sasl_plain_password=(broker.passwords / user).read_text(),
    )
    await monitor.start()
    try:
        assert place in await monitor.end_offsets([place])
        monitor.assign([place])
        await monitor.committed(place)
        await monitor.seek_to_beginning(place)
        with pytest.raises(TopicAuthorizationFailedError):
            await asyncio.wait_for(monitor.getone(place), 60)
    finally:
        await monitor.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sasl_mechanism": "SCRAM-SHA-256"},
        {"sasl_username": "nobody"},
        {"ca_file": None},
        {"security_protocol": "SASL_PLAINTEXT"},
        {"security_protocol": "SSL", "sasl_mechanism": None},
        {"security_protocol": "PLAINTEXT", "sasl_mechanism": None},
    ],
    ids=lambda wrong: " ".join(f"{name}={value}" for name, value in wrong.items()),
)
async def test_nobody_comes_in_another_way(broker: SecuredBroker, wrong: dict[str, Any]) -> None:
    settings = replace(broker.client("orchestrator"), **wrong)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(60), Cluster(settings):
            pytest.fail("the broker let us in")


async def test_the_node_alone_comes_in_by_its_certificate(broker: SecuredBroker) -> None:
    pair = broker.ca_file.with_name("kafka_server_pem")
    node = KafkaSettings(
        f"localhost:{broker.internal_port}", security_protocol="SSL", ca_file=broker.ca_file, cert_file=pair,
        key_file=pair,
    )  # fmt: skip
    async with Cluster(node) as cluster:
        assert (await cluster.read()).rights
    with pytest.raises(Unavailable):
        async with asyncio.timeout(60), Cluster(replace(node, cert_file=None, key_file=None)):
            pytest.fail("the broker let us in")


async def test_a_changed_password_replaces_the_former_one(broker: SecuredBroker) -> None:
    fresh = uuid.uuid4().hex
    async with Cluster(broker.client(ADMIN)) as cluster:
        await cluster.set_password("dashboards", fresh)
        await read_as(broker.client("dashboards", fresh), "dashboards", {"ucmesh.plans.v1"})
        with pytest.raises(KafkaError):
            await read_as(broker.client("dashboards"), "dashboards", {"ucmesh.plans.v1"})
        await cluster.set_password("dashboards", (broker.passwords / "dashboards").read_text())
