"""One poll becomes one transaction; a poison message is found by halving and costs only itself.

Owns what happens to each record of a batch: handled, known already, skipped, parked, or given up; exactly one of
them, in the transaction that also writes its inbox row. Refuses to know Apache Kafka.

    batch fails -> left half, right half -> ... -> the single message that fails -> parked or dead letter
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import metrics, parked
from mesh_messaging.deadletters_rows import NewDeadLetter, put_many
from mesh_messaging.dispatch import dispatch
from mesh_messaging.failures import Failure, classify, passes
from mesh_messaging.inbox import admit_identities
from mesh_messaging.ladder import AFTER_PARK, BEFORE_PARK, RetryLadder
from mesh_messaging.message import Delivery, Handler
from mesh_messaging.parked import KeyPlace, NewParked
from mesh_runtime import faults
from mesh_runtime.clock import Clock
from mesh_runtime.db import Database
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause

BEFORE_COMMIT = faults.declare("consumer.before_commit", "the batch is handled, its transaction is still open")
AFTER_COMMIT = faults.declare("consumer.after_commit", "the batch is committed, its offsets are not")

BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 5.0

_log = get_logger("mesh_messaging.batch")


class Batches:
    """Settles batches for one consumer."""

    def __init__(
        self, db: Database, *, name: str, handlers: Mapping[str, Handler], retry: RetryLadder, clock: Clock
    ) -> None:
        self._db = db
        self._name = name
        self._handlers = handlers
        self._retry = retry
        self._clock = clock

    async def settle(self, deliveries: Sequence[Delivery], stop: asyncio.Event) -> bool:
        """Bring every delivery to its end; True when all are durable, so that offsets may move on.

        Repeats while the database is away. False only when `stop` was set meanwhile.
        """
        known = [delivery for delivery in _distinct(deliveries) if self._wanted(delivery)]
        pending: list[tuple[Sequence[Delivery], Failure | None]] = [(known, None)] if known else []
        repeats = 0
        while pending:
            part, verdict = pending.pop()
            failure = await self._attempt(part, verdict)
            if failure is None:
                repeats = 0
                continue
            metrics.FAILED.labels(self._name, failure.code).inc()
            repeats += 1
            if verdict is not None or (failure.kind == "transient" and await passes(self._db, repeats)):
                if stop.is_set():
                    return False
                await pause(stop, min(BACKOFF_FIRST_SECONDS * 2 ** min(repeats - 1, 10), BACKOFF_MAX_SECONDS))
                pending.append((part, verdict))
            elif len(part) > 1:
                middle = len(part) // 2
                pending += [(part[middle:], None), (part[:middle], None)]
            else:
                self._report(part[0], failure)
                pending.append((part, failure))
        return True

    def _wanted(self, delivery: Delivery) -> bool:
        if delivery.message is None or delivery.message.event.type in self._handlers:
            return True
        metrics.SKIPPED.labels(self._name).inc()
        return False

    async def _attempt(self, part: Sequence[Delivery], verdict: Failure | None) -> Failure | None:
        """One transaction. With a verdict the single delivery is parked or given up; else it is handled."""
        outcome = _Outcome()
        try:
            async with self._db.transaction() as tx:
                await self._take_over(tx, part, verdict, outcome)
                faults.fault_point(BEFORE_COMMIT)
            faults.fault_point(AFTER_COMMIT)
        except Exception as error:
            return classify(error)
        outcome.count(self._name)
        return None

    async def _take_over(
        self, tx: AsyncConnection, part: Sequence[Delivery], verdict: Failure | None, outcome: "_Outcome"
    ) -> None:
        # First the inbox: it waits for a member that lost the partition but still handles the same messages. So the
        # look at the parked keys, which comes after it, sees what that member parked.
        new = await admit_identities(tx, self._name, [delivery.identity for delivery in part])
        fresh = [delivery for delivery in part if delivery.identity in new]
        outcome.duplicates = len(part) - len(fresh)
        broken = [
            NewDeadLetter(delivery.raw, delivery.failure, 1, admitted=False)
            for delivery in fresh
            if delivery.failure is not None
        ]
        ready = await self._park_behind(tx, [delivery for delivery in fresh if delivery.message is not None], outcome)
        if verdict is None:
            messages = [delivery.message for delivery in ready if delivery.message is not None]
            outcome.handled = await dispatch(tx, self._handlers, messages)
        elif ready:
            broken += await self._give_way(tx, ready[0], verdict, outcome)
        await put_many(tx, self._name, broken, clock=self._clock)
        outcome.dead = [letter.failure.code for letter in broken]

    async def _park_behind(
        self, tx: AsyncConnection, deliveries: Sequence[Delivery], outcome: "_Outcome"
    ) -> list[Delivery]:
        """Park what must wait behind an earlier message of its key; returns the rest."""
        waiting = await parked.waiting_keys(tx, self._name, {_place(d) for d in deliveries if d.raw.key is not None})
        if not waiting:
            return list(deliveries)
        behind = [d for d in deliveries if d.raw.key is not None and _place(d) in waiting]
        await self._park(tx, [NewParked(d.raw, 0, waiting[_place(d)]) for d in behind], outcome)
        return [d for d in deliveries if d.raw.key is None or _place(d) not in waiting]

    async def _give_way(
        self, tx: AsyncConnection, delivery: Delivery, verdict: Failure, outcome: "_Outcome"
    ) -> list[NewDeadLetter]:
        due_at = self._retry.due_after(1, self._clock.now())
        if verdict.kind == "permanent" or due_at is None:
            return [NewDeadLetter(delivery.raw, verdict, 1, admitted=True)]
        await self._park(tx, [NewParked(delivery.raw, 1, due_at, verdict)], outcome)
        return []

    async def _park(self, tx: AsyncConnection, messages: Sequence[NewParked], outcome: "_Outcome") -> None:
        faults.fault_point(BEFORE_PARK)
        await parked.park(tx, self._name, messages, self._clock.now())
        faults.fault_point(AFTER_PARK)
        outcome.parked += len(messages)

    def _report(self, delivery: Delivery, failure: Failure) -> None:
        source, event_id = delivery.identity
        _log.warning(
            "message.failed",
            consumer=self._name,
            topic=delivery.raw.topic,
            partition=delivery.raw.partition,
            offset=delivery.raw.offset,
            event_source=source,
            event_id=event_id,
            kind=failure.kind,
            code=failure.code,
            reason=failure.message,
            fingerprint=failure.fingerprint,
        )


class _Outcome:
    """Counts of one transaction, published only once it is committed."""

    def __init__(self) -> None:
        self.duplicates = 0
        self.parked = 0
        self.handled: Counter[str] = Counter()
        self.dead: list[str] = []

    def count(self, name: str) -> None:
        if self.duplicates:
            metrics.DUPLICATE.labels(name).inc(self.duplicates)
        if self.parked:
            metrics.PARKED.labels(name).inc(self.parked)
        for kind, count in self.handled.items():
            metrics.HANDLED.labels(name, kind).inc(count)
        for code in self.dead:
            metrics.DEAD_LETTERED.labels(name, code).inc()


def _distinct(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """The first of each identity: a producer's repeat may lie in the same poll."""
    found: dict[tuple[str, str], Delivery] = {}
    for delivery in deliveries:
        found.setdefault(delivery.identity, delivery)
    return list(found.values())


def _place(delivery: Delivery) -> KeyPlace:
    return delivery.raw.topic, delivery.raw.key or b""
