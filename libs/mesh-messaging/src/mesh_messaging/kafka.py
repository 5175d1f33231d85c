"""Apache Kafka clients with the settings the guarantees depend on.

Owns every aiokafka option of the mesh: acks=all and idempotence for producers, manual offsets for consumers. Refuses
auto-commit and auto-created topics. Facts: Apache Kafka 4.4, aiokafka 0.14.
"""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from mesh_runtime.errors import Unavailable
from mesh_runtime.settings import BrokerSettings

BATCH_BYTES_MAX = 960_000
"""Largest record batch of one partition in bytes; below Apache Kafka's default `message.max.bytes` of 1,048,588."""
REQUEST_TIMEOUT_MS = 10_000
METADATA_AGE_MS = 30_000
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach the brokers. `ca_file` unset means the system's certificate authorities; SASL unset means none;
    `cert_file` unset means no certificate of our own.

    `instance` is a name no other living member of the group has (a stateful replica's own): with it a member that was
    killed takes its partitions back at once when it returns. Unset = its partitions wait for `session_timeout_ms`.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: str = "ucmesh"
    session_timeout_ms: int = 10_000
    max_poll_interval_ms: int = 300_000
    instance: str | None = None

    @classmethod
    def from_service(cls, settings: BrokerSettings, client_id: str) -> "KafkaSettings":
        """The Kafka part of a service's settings."""
        return cls(
            bootstrap=settings.kafka_bootstrap,
            security_protocol=settings.kafka_security_protocol,
            sasl_mechanism=settings.kafka_sasl_mechanism,
            sasl_username=settings.kafka_sasl_username,
            sasl_password=settings.kafka_sasl_password,
            ca_file=settings.kafka_ca_file,
            cert_file=settings.kafka_cert_file,
            key_file=settings.kafka_key_file,
            client_id=client_id,
        )

    def make_producer(self) -> AIOKafkaProducer:
        """Same as `make_producer(self)`; usable as the producer factory of a relay."""
        return make_producer(self)

    def make_consumer(self, group: str, topics: Iterable[str]) -> AIOKafkaConsumer:
        """Same as `make_consumer(self, group, topics)`."""
        return make_consumer(self, group, topics)


def make_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """A producer, not started: acks=all, idempotent, bounded batches. Call it inside a running event loop."""
    return AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES_MAX,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


def make_consumer(
    settings: KafkaSettings,
    group: str,
    topics: Iterable[str],
    listener: ConsumerRebalanceListener | None = None,
) -> AIOKafkaConsumer:
    """A subscribed consumer, not started: offsets are committed by hand, a new group begins at the earliest record."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=group,
        group_instance_id=settings.instance,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_uncommitted",
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=max(settings.session_timeout_ms // 4, 250),
        max_poll_interval_ms=settings.max_poll_interval_ms,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        # Topics that are created later, or get more partitions, are noticed within this time.
        metadata_max_age_ms=METADATA_AGE_MS,
    )
    consumer.subscribe(list(topics), listener=listener)
    return consumer


def make_client(settings: KafkaSettings) -> AIOKafkaClient:
    """A client for single requests to the brokers, not started."""
    return AIOKafkaClient(**client_options(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)


async def wait_until_ready(settings: KafkaSettings, topics: Sequence[str], seconds: float) -> None:
    """Wait until the brokers answer and every topic has a leader for each partition. Raises Unavailable after
    `seconds`.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    problem = "no answer"
    while True:
        try:
            absent = await _topics_without_leader(settings, topics)
            if not absent:
                return
            problem = f"not ready: {', '.join(absent)}"
        except (KafkaError, OSError) as error:
            problem = str(error) or type(error).__name__
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable(f"Apache Kafka at {settings.bootstrap} is not ready after {seconds} s ({problem})")
        await asyncio.sleep(POLL_SECONDS)


async def _topics_without_leader(settings: KafkaSettings, topics: Sequence[str]) -> list[str]:
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=2_000)
    try:
        await admin.start()
        if not topics:
            await admin.list_topics()
            return []
        described = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    ready = {
        topic["topic"]
        for topic in described
        if not topic["error_code"] and topic["partitions"] and all(p["leader"] >= 0 for p in topic["partitions"])
    }
    return [name for name in topics if name not in ready]


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every client of these brokers is told, whatever it does there."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None:
            options["ssl_context"].load_cert_chain(settings.cert_file, settings.key_file)
    if settings.sasl_mechanism is not None:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        password = settings.sasl_password
        options["sasl_plain_password"] = password.get_secret_value() if password is not None else None
    return options
