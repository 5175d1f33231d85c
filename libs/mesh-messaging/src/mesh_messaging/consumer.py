"""The batch consumer: polls Apache Kafka, settles each poll in one transaction, then moves the offsets on.

Owns the membership in the consumer groups and the drain at the end. What happens to a message is decided in `batch.py`.

    topics       ──group <name>──────> batch ──┐
    bulk topics  ──group <name>-bulk─> batch ──┴─> one inbox, one ladder, one list of dead letters: those of <name>

What is there in thousands has topics of its own, which a second client reads side by side: nothing of the others waits
behind it. A group of its own, since a rebalance stops a whole group and waits for its running batches.

Behind a full poll there is more: what lies ready in other partitions is settled beside it, in a transaction of its own.
No key is in both, and one is decided while the database works on the other. A bulk leaves room and does without.

While a batch takes long its partitions are paused and polling goes on, so the member keeps its place in the group
however long a handler works. A rebalance waits for the running batch for a bounded time; if that is not enough, the
new owner gets the same records and its inbox waits for, and then believes, the transaction of the old one.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError

from mesh_messaging import metrics
from mesh_messaging.batch import Batches
from mesh_messaging.inbox import KEEP
from mesh_messaging.kafka import KafkaSettings, make_consumer
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.ladder_timer import LadderTimer
from mesh_messaging.message import Delivery, Handler, read_delivery
from mesh_messaging.names import bulk_group, check_topic, dead_letter_topic, parse_type
from mesh_messaging.records import RawRecord
from mesh_messaging.tracing import batch_span
from mesh_messaging.unreadable import Unreadable, read_carefully
from mesh_runtime import faults
from mesh_runtime.clock import Clock, SystemClock
from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause

AFTER_OFFSETS = faults.declare("consumer.after_offsets", "the batch is committed and so are its offsets")

BULK_PART_SIZE_MAX = 200
"""Messages of a bulk in one transaction: what else this process does waits for it, and so does whoever needs the rows
it has locked. A poll takes more: the client asks the broker for nothing while it holds records that were not taken.
"""
POLL_TIMEOUT_MS = 200
REVOKE_WAIT_SECONDS = 5.0
STOP_WAIT_SECONDS = 5.0
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0

_log = get_logger("mesh_messaging.consumer")

Polled = Mapping[TopicPartition, Sequence[ConsumerRecord]]
Polls = Sequence[Sequence[Delivery]]
Offsets = Mapping[TopicPartition, int]
"""The next offset to read, by partition."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Topics that are read as one group, a poll after the other, each in parts of a transaction. `beside`: a full poll
    is settled with another one beside it. `idle`: none is being settled.
    """

    group: str
    topics: tuple[str, ...]
    part_size_max: int
    beside: bool
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class BatchConsumer:
    """One consumer of one service; `name` is its group id and its name in inbox, ladder and dead letters.

    `handlers` maps event types to handlers; types without one are skipped and counted. `inbox_keep` must be longer
    than the retention of the topics. What is given up is announced on each topic's `dead_letter_topic`, which must
    exist. `bulk_topics` are read beside the others, by the group `bulk_group(name)`.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        db: Database,
        *,
        name: str,
        topics: Sequence[str],
        handlers: Mapping[str, Handler],
        bulk_topics: Sequence[str] = (),
        batch_size_max: int = 1_000,
        bulk_part_size_max: int = BULK_PART_SIZE_MAX,
        retry: RetryLadder | None = None,
        clock: Clock | None = None,
        inbox_keep: timedelta = KEEP,
    ) -> None:
        # A misspelt name would wait for messages that never come: it ends the start instead.
        for topic in (*topics, *bulk_topics):
            dead_letter_topic(check_topic(topic), name)
        for kind in handlers:
            parse_type(kind)
        self._kafka = kafka
        self._name = name
        self._lines = [_Line(name, tuple(topics), batch_size_max, beside=True)]
        if bulk_topics:
            self._lines.append(_Line(bulk_group(name), tuple(bulk_topics), bulk_part_size_max, beside=False))
        self._batch_size_max = batch_size_max
        self._clock = clock or SystemClock()
        ladder = retry or RetryLadder()
        self._batches = Batches(db, name=name, handlers=handlers, retry=ladder, clock=self._clock)
        self._timer = LadderTimer(
            db, name=name, handlers=handlers, retry=ladder, clock=self._clock, inbox_keep=inbox_keep
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Consume and climb the ladder until `stop`; then finish the running batch, commit its offsets and leave
        the group.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._timer.run(stop), name=f"ladder-{self._name}")
            for line in self._lines:
                tasks.create_task(self._consume(line, stop), name=f"consume-{line.group}")

    async def _consume(self, line: _Line, stop: asyncio.Event) -> None:
        backoff_seconds = BACKOFF_FIRST_SECONDS
        careful = False
        while not stop.is_set():
            try:
                await self._session(line, stop, careful=careful)
                careful = False
            except UnicodeDecodeError as error:
                _log.warning("consumer.unreadable-record", consumer=line.group, reason=str(error))
                careful = True
            except (KafkaError, OSError, MeshError) as error:
                _log.warning(
                    "consumer.reconnecting", consumer=line.group, reason=repr(error), backoff_seconds=backoff_seconds
                )
                await pause(stop, backoff_seconds)
                backoff_seconds = min(backoff_seconds * 2, BACKOFF_MAX_SECONDS)
            else:
                backoff_seconds = BACKOFF_FIRST_SECONDS

    async def _session(self, line: _Line, stop: asyncio.Event, *, careful: bool) -> None:
        """One life of a Kafka client; a careful one goes through what is there now, past what it cannot decode.

        Raises UnicodeDecodeError for such a record. The client has lost count then, so the next one begins at the
        committed offsets.
        """
        line.idle.set()
        listener = _Listener(self._name, line.idle)
        consumer = make_consumer(self._kafka, line.group, line.topics, listener)
        try:
            await consumer.start()
            if careful:
                await self._read_carefully(line, consumer, stop)
                return
            while not stop.is_set():
                polled = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=self._batch_size_max)
                if polled:
                    beside = await _poll_beside(consumer, polled, self._batch_size_max) if line.beside else {}
                    batches = [self._read(each) for each in (polled, beside) if each]
                    await self._take(line, consumer, batches, _offsets({**polled, **beside}), stop)
        finally:
            try:
                await asyncio.wait_for(consumer.stop(), STOP_WAIT_SECONDS)
            except (TimeoutError, KafkaError, OSError) as error:
                _log.warning("consumer.stop-failed", consumer=line.group, reason=repr(error))

    async def _read_carefully(self, line: _Line, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        places = sorted(consumer.assignment())
        async for place, found in read_carefully(consumer, places, self._batch_size_max):
            if isinstance(found, Unreadable):
                await self._take(line, consumer, [[found.delivery()]], {place: found.following}, stop)
            else:
                await self._take(line, consumer, [self._read({place: found})], _offsets({place: found}), stop)
            if stop.is_set():
                return

    def _read(self, polled: Polled) -> list[Delivery]:
        received_at = self._clock.now()
        return [read_delivery(_raw(record), received_at) for records in polled.values() for record in records]

    async def _take(
        self, line: _Line, consumer: AIOKafkaConsumer, batches: Polls, offsets: Offsets, stop: asyncio.Event
    ) -> None:
        line.idle.clear()
        try:
            if await self._settle_while_polling(line, consumer, batches, stop):
                await self._commit_offsets(consumer, offsets)
        finally:
            line.idle.set()

    async def _settle_while_polling(
        self, line: _Line, consumer: AIOKafkaConsumer, batches: Polls, stop: asyncio.Event
    ) -> bool:
        # None is left running when another one fails.
        settling = asyncio.gather(*(self._settle_all(line, each, stop) for each in batches), return_exceptions=True)
        keepalive_seconds = min(self._kafka.max_poll_interval_ms / 4_000, 5.0)
        try:
            while not (await asyncio.wait({settling}, timeout=keepalive_seconds))[0]:
                await _poll_paused(consumer)
            outcomes = await settling
            if failed := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
                raise failed[0]
            return all(outcomes)
        finally:
            if not settling.done():
                settling.cancel()
                await asyncio.wait({settling})
            _resume(consumer)

    async def _settle_all(self, line: _Line, deliveries: Sequence[Delivery], stop: asyncio.Event) -> bool:
        for first in range(0, len(deliveries), line.part_size_max):
            if not await self._settle(deliveries[first : first + line.part_size_max], stop):
                return False
        return True

    async def _settle(self, deliveries: Sequence[Delivery], stop: asyncio.Event) -> bool:
        messages = [delivery.message for delivery in deliveries if delivery.message is not None]
        metrics.BATCH_SIZE.labels(self._name).observe(len(deliveries))
        with batch_span(self._name, messages), metrics.BATCH_SECONDS.labels(self._name).time():
            return await self._batches.settle(deliveries, stop)

    async def _commit_offsets(self, consumer: AIOKafkaConsumer, offsets: Offsets) -> None:
        owned = consumer.assignment()
        mine = {place: offset for place, offset in offsets.items() if place in owned}
        try:
            if mine:
                await consumer.commit(mine)
        except (KafkaError, IllegalStateError) as error:
            # The inbox makes the redelivery harmless; the next commit covers this one.
            _log.info("consumer.offsets-not-committed", consumer=self._name, reason=repr(error))
            return
        faults.fault_point(AFTER_OFFSETS)
        for place, offset in mine.items():
            end = consumer.highwater(place) if place in consumer.assignment() else None
            if end is not None:
                metrics.LAG.labels(self._name, place.topic, str(place.partition)).set(max(end - offset, 0))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Lets a rebalance wait for the running batch, so that its offsets are committed by their owner."""

    def __init__(self, name: str, idle: asyncio.Event) -> None:
        self._name = name
        self._idle = idle

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        for place in revoked:
            with contextlib.suppress(KeyError):
                metrics.LAG.remove(self._name, place.topic, str(place.partition))
        try:
            await asyncio.wait_for(self._idle.wait(), REVOKE_WAIT_SECONDS)
        except TimeoutError:
            _log.info("consumer.revoked-while-handling", consumer=self._name, partitions=len(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        _log.info("consumer.assigned", consumer=self._name, partitions=len(assigned))


async def _poll_beside(consumer: AIOKafkaConsumer, polled: Polled, count_max: int) -> Polled:
    """What lies ready in other partitions than those of a full poll."""
    others = consumer.assignment() - polled.keys()
    is_full = sum(map(len, polled.values())) >= count_max
    return await consumer.getmany(*others, timeout_ms=0, max_records=count_max) if is_full and others else {}


async def _poll_paused(consumer: AIOKafkaConsumer) -> None:
    """Poll without taking anything: it only shows the group that this member lives."""
    _for_assigned(consumer, consumer.pause)
    for place, records in (await consumer.getmany(timeout_ms=0)).items():
        # Assigned between the pause and the poll.
        if place in consumer.assignment():
            consumer.seek(place, records[0].offset)


def _resume(consumer: AIOKafkaConsumer) -> None:
    _for_assigned(consumer, consumer.resume)


def _for_assigned(consumer: AIOKafkaConsumer, act: Callable[..., None]) -> None:
    try:
        act(*consumer.assignment())
    except IllegalStateError:
        # A rebalance took the partitions meanwhile: nothing is left to pause.
        return


def _offsets(polled: Polled) -> Offsets:
    return {place: records[-1].offset + 1 for place, records in polled.items()}


def _raw(record: ConsumerRecord) -> RawRecord:
    return RawRecord(record.topic, record.partition, record.offset, record.key, tuple(record.headers), record.value)
