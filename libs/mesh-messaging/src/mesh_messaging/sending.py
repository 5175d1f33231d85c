"""Sending a claimed batch: one record batch per partition, awaited once.

Owns the producer and its replacement. A partition's records go out together or not at all, so a failure in the
middle can never let a later message of a key overtake an earlier one; after any failure the producer is replaced,
because an idempotent producer that lost a batch has lost its sequence.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2

from mesh_messaging import metrics
from mesh_messaging.records import load_headers
from mesh_runtime.logs import get_logger
from mesh_runtime.values import lean_dataclass

METADATA_SECONDS = 2.0
"""How long one unknown topic may hold up a batch."""
STOP_WAIT_SECONDS = 3.0

_log = get_logger("mesh_messaging.relay")

ProducerFactory = Callable[[], AIOKafkaProducer]


@lean_dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """An outbox row; `headers` as stored."""

    shard: int
    id: int
    topic: str
    key: bytes | None
    headers: str
    value: bytes | None


@dataclass(slots=True)
class SendResult:
    """What was acknowledged, and the topics where something was not; messages in neither did not fit and come next
    time.
    """

    acknowledged: list[ClaimedMessage] = field(default_factory=list)
    failed_topics: dict[str, str] = field(default_factory=dict)


class Sender:
    """Keeps one started producer. Not safe for concurrent calls."""

    def __init__(self, factory: ProducerFactory) -> None:
        self._factory = factory
        self._producer: AIOKafkaProducer | None = None
        self._batch_counts_max: dict[str, int] = {}

    async def send(self, messages: Sequence[ClaimedMessage]) -> SendResult:
        """Send in the given order per key and wait for all acknowledgements. Raises KafkaError or OSError when no
        broker answers.
        """
        producer = await self._started()
        result = SendResult()
        counts = await self._partition_counts(producer, {message.topic for message in messages}, result)
        batches: dict[tuple[str, int], list[ClaimedMessage]] = {}
        for message in messages:
            count = counts.get(message.topic)
            if count is not None:
                batches.setdefault((message.topic, _partition(message, count)), []).append(message)
        sends = [self._send_batch(producer, topic, partition, part) for (topic, partition), part in batches.items()]
        for (topic, _), outcome in zip(batches, await asyncio.gather(*sends, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, KafkaError | OSError):
                    raise outcome
                result.failed_topics[topic] = repr(outcome)
                metrics.RELAY_FAILED.labels(topic).inc()
            else:
                result.acknowledged += outcome
                metrics.RELAY_SENT.labels(topic).inc(len(outcome))
        if any(topic in counts for topic in result.failed_topics):
            await self.close()
        return result

    async def close(self) -> None:
        """Stop the producer; the next send starts a new one."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), STOP_WAIT_SECONDS)
        except (TimeoutError, KafkaError, OSError) as error:
            _log.info("producer.stop-failed", reason=repr(error))

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = self._factory()
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _partition_counts(
        self, producer: AIOKafkaProducer, topics: set[str], result: SendResult
    ) -> Mapping[str, int]:
        async def count(topic: str) -> int:
            try:
                return len(await asyncio.wait_for(producer.partitions_for(topic), METADATA_SECONDS))
            except TimeoutError:
                raise UnknownTopicOrPartitionError(topic) from None

        ordered = sorted(topics)
        counts: dict[str, int] = {}
        outcomes = await asyncio.gather(*(count(topic) for topic in ordered), return_exceptions=True)
        for topic, outcome in zip(ordered, outcomes, strict=True):
            if isinstance(outcome, int):
                counts[topic] = outcome
            elif isinstance(outcome, KafkaError | OSError):
                result.failed_topics[topic] = repr(outcome)
                metrics.RELAY_FAILED.labels(topic).inc()
            else:
                raise outcome
        return counts

    async def _send_batch(
        self, producer: AIOKafkaProducer, topic: str, partition: int, messages: Sequence[ClaimedMessage]
    ) -> Sequence[ClaimedMessage]:
        batch: Any = producer.create_batch()
        fitting = 0
        for message in messages[: self._batch_counts_max.get(topic)]:
            headers = load_headers(message.headers)
            if batch.append(timestamp=None, key=message.key, value=message.value, headers=headers) is None:
                break
            fitting += 1
        batch.close()
        acknowledged = await producer.send_batch(batch, topic, partition=partition)
        try:
            await acknowledged
        except MessageSizeTooLargeError:
            # The topic allows less than the brokers' default: find by halving what it takes.
            self._batch_counts_max[topic] = max(fitting // 2, 1)
            raise
        return messages[:fitting]


def _partition(message: ClaimedMessage, count: int) -> int:
    """The same choice as every Kafka client's default partitioner, so that all producers of a key agree."""
    return message.id % count if message.key is None else _hash(message.key) % count


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF
