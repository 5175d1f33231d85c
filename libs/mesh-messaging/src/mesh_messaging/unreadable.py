"""Getting past a record that the Kafka client itself cannot decode (a header name that is no UTF-8).

Owns finding it and stepping over it, so that one such record does not stop its partition for ever. What is stepped
over is reported as a dead letter without bytes: the records are still in the topic, at the offsets it names. The
step is as long as the rest of the producer's batch, because the client decodes batches as a whole.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from mesh_messaging.failures import Failure
from mesh_messaging.message import Delivery
from mesh_messaging.records import RawRecord

POLL_TIMEOUT_MS = 300
STEP_COUNT_MAX = 100_000
"""Longest step over undecodable records, in offsets."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Records of `place` from `first` up to and not including `following`; already stepped over."""

    place: TopicPartition
    first: int
    following: int

    def delivery(self) -> Delivery:
        """What to settle in their stead."""
        raw = RawRecord(self.place.topic, self.place.partition, self.first, None, (), None)
        reason = f"records {self.first} to {self.following - 1} cannot be decoded; they are still in the topic"
        return Delivery(raw, None, Failure("permanent", "unreadable-record", reason, "unreadable-record"))


async def read_carefully(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition], batch_size_max: int
) -> AsyncIterator[tuple[TopicPartition, Sequence[ConsumerRecord] | Unreadable]]:
    """Poll each partition alone, in smaller and smaller batches up to the record that cannot be decoded.

    Yields what is readable before it and then the step over it; ends when every partition has been looked at.
    """
    for place in places:
        size = batch_size_max
        while size:
            position = await consumer.position(place)
            try:
                records = await _poll(consumer, place, size)
            except UnicodeDecodeError:
                # The client's iterator stands somewhere in the batch now; seeking makes it begin anew.
                consumer.seek(place, position)
                if size == 1:
                    yield place, await _step_over(consumer, place, position)
                size //= 2
                continue
            if not records:
                break
            yield place, records


async def _poll(consumer: AIOKafkaConsumer, place: TopicPartition, count: int) -> Sequence[ConsumerRecord]:
    polled = await consumer.getmany(place, timeout_ms=POLL_TIMEOUT_MS, max_records=count)
    return list(polled.get(place, ()))


async def _step_over(consumer: AIOKafkaConsumer, place: TopicPartition, first: int) -> Unreadable:
    (end,) = (await consumer.end_offsets([place])).values()
    following = first + 1
    while following < min(end, first + STEP_COUNT_MAX):
        consumer.seek(place, following)
        try:
            records = await _poll(consumer, place, 1)
        except UnicodeDecodeError:
            following += 1
            continue
        if records:
            following = records[0].offset
        break
    consumer.seek(place, following)
    return Unreadable(place, first, following)
