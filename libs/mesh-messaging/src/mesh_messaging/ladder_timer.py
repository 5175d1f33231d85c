"""The timer loop of the retry ladder: takes due messages, handles them in batches, moves what fails to its next rung.

Owns the second attempt and all later ones, replays of dead letters included. Refuses order across keys; keeps it
within.

    due heads + followers -> one transaction: handle, delete rows
       fails -> halve the keys -> one key: head alone -> fails -> next rung | dead letter
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging import deadletters, inbox, metrics, parked
from mesh_messaging.deadletters_rows import NewDeadLetter, put_many
from mesh_messaging.dispatch import dispatch
from mesh_messaging.failures import Failure, classify, passes
from mesh_messaging.ladder import AFTER_COMMIT, BEFORE_COMMIT, RetryLadder
from mesh_messaging.message import Delivery, Handler, InboundMessage, read_delivery
from mesh_messaging.parked import ParkedMessage
from mesh_messaging.tracing import batch_span
from mesh_runtime import faults
from mesh_runtime.clock import Clock
from mesh_runtime.db import Database
from mesh_runtime.errors import InvalidInput, MeshError
from mesh_runtime.logs import get_logger
from mesh_runtime.roles import pause

HEAD_COUNT_MAX = 100
FOLLOWER_COUNT_MAX = 19
"""Messages of one key taken behind its head in one transaction."""
WAIT_SECONDS_MAX = 1.0
"""A replay or another process's parked message is seen after at most this time."""
WAIT_SECONDS_MIN = 0.1
"""What is due but held by another process is not asked for more often than this."""
PRUNE_SECONDS = 600.0
PRUNE_COUNT_MAX = 100
"""Most rounds of forgetting at a time, of 10,000 rows each."""

_log = get_logger("mesh_messaging.ladder")


@dataclass(frozen=True, slots=True)
class _Part:
    """What one transaction takes: chosen heads (none = whatever is due), and how many messages behind each."""

    head_ids: tuple[int, ...] | None
    follower_count: int


class LadderTimer:
    """Climbs the ladder of one consumer; any number of processes may do so at once."""

    def __init__(
        self,
        db: Database,
        *,
        name: str,
        handlers: Mapping[str, Handler],
        retry: RetryLadder,
        clock: Clock,
        inbox_keep: timedelta,
    ) -> None:
        self._db = db
        self._name = name
        self._handlers = handlers
        self._retry = retry
        self._clock = clock
        self._inbox_keep = inbox_keep
        self._pruned_at: float | None = None
        self._taken: list[ParkedMessage] = []
        self._repeats = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; a database that is away is waited for."""
        while not stop.is_set():
            try:
                while await self.climb() and not stop.is_set():
                    pass
                wait_seconds = await self._seconds_to_next()
                await self._prune()
            except MeshError as error:
                _log.warning("ladder.waiting", consumer=self._name, code=error.code, reason=str(error))
                wait_seconds = WAIT_SECONDS_MAX
            await pause(stop, wait_seconds)

    async def climb(self) -> int:
        """Take what is due now through one attempt; returns how many messages were taken."""
        taken = 0
        pending = [_Part(None, FOLLOWER_COUNT_MAX)]
        while pending:
            part = pending.pop()
            failure = await self._attempt(part, None)
            taken += len(self._taken) if part.head_ids is None else 0
            if failure is None:
                self._repeats = 0
                continue
            metrics.FAILED.labels(self._name, failure.code).inc()
            if failure.kind == "transient":
                self._repeats += 1
                if await passes(self._db, self._repeats):
                    return 0
            heads = tuple(dict.fromkeys(message.head_id for message in self._taken))
            if len(heads) > 1:
                middle = len(heads) // 2
                pending.append(_Part(heads[middle:], part.follower_count))
                pending.append(_Part(heads[:middle], part.follower_count))
            elif len(self._taken) > 1:
                pending.append(_Part(heads, 0))
            elif heads:
                failure = await self._attempt(_Part(heads, 0), failure)
                if failure is not None:
                    return 0
        return taken

    async def _attempt(self, part: _Part, verdict: Failure | None) -> Failure | None:
        """One transaction. With a verdict the single head is moved on; else everything taken is handled."""
        self._taken = []
        handled: Counter[str] = Counter()
        try:
            async with self._db.transaction() as tx:
                self._taken = replays_alone(await self._lease(tx, part))
                if not self._taken:
                    return None
                deliveries = [read_delivery(m.raw, m.parked_at, m.attempts + 1) for m in self._taken]
                if verdict is None:
                    handled = await self._handle(tx, deliveries)
                else:
                    await self._move_on(tx, self._taken[0], verdict)
                faults.fault_point(BEFORE_COMMIT)
            faults.fault_point(AFTER_COMMIT)
        except Exception as error:
            return classify(error)
        for kind, count in handled.items():
            metrics.HANDLED.labels(self._name, kind).inc(count)
        return None

    async def _lease(self, tx: AsyncConnection, part: _Part) -> list[ParkedMessage]:
        if part.head_ids is None:
            return await parked.lease_due(
                tx,
                self._name,
                self._clock.now(),
                head_count=HEAD_COUNT_MAX,
                follower_count=part.follower_count,
            )
        return await parked.lease_heads(tx, self._name, part.head_ids, follower_count=part.follower_count)

    async def _handle(self, tx: AsyncConnection, deliveries: Sequence[Delivery]) -> Counter[str]:
        messages = [self._readable(delivery) for delivery in deliveries]
        with batch_span(self._name, messages, retried=True):
            handled = await dispatch(tx, self._handlers, messages)
        await parked.remove(tx, [message.id for message in self._taken])
        letters = [message.dead_letter_id for message in self._taken if message.dead_letter_id is not None]
        await deadletters.resolve(tx, letters, self._clock.now())
        return handled

    def _readable(self, delivery: Delivery) -> InboundMessage:
        message = delivery.message
        if message is None:
            reason = delivery.failure.message if delivery.failure is not None else ""
            raise InvalidInput(f"the parked record is no event: {reason}", code="invalid-envelope")
        if message.event.type not in self._handlers:
            raise InvalidInput(f"{self._name} has no handler for {message.event.type}", code="no-handler")
        return message

    async def _move_on(self, tx: AsyncConnection, message: ParkedMessage, failure: Failure) -> None:
        """Next rung, or dead letter."""
        attempts = message.attempts + 1
        due_at = self._retry.due_after(attempts, self._clock.now())
        _log.warning(
            "message.failed",
            consumer=self._name,
            topic=message.raw.topic,
            partition=message.raw.partition,
            offset=message.raw.offset,
            attempts=attempts,
            kind=failure.kind,
            code=failure.code,
            reason=failure.message,
            fingerprint=failure.fingerprint,
        )
        if failure.kind == "permanent" or due_at is None:
            letter = NewDeadLetter(message.raw, failure, attempts, admitted=True, reopens=message.dead_letter_id)
            await put_many(tx, self._name, [letter], clock=self._clock)
            await parked.remove(tx, [message.id])
            metrics.DEAD_LETTERED.labels(self._name, failure.code).inc()
        else:
            await parked.postpone(tx, self._name, message, failure, due_at)

    async def _seconds_to_next(self) -> float:
        async with self._db.read() as tx:
            due_at, count = await parked.next_due(tx, self._name)
        metrics.PARKED_NOW.labels(self._name).set(count)
        if due_at is None:
            return WAIT_SECONDS_MAX
        seconds = (due_at - self._clock.now()).total_seconds()
        return min(max(seconds, WAIT_SECONDS_MIN), WAIT_SECONDS_MAX)

    async def _prune(self) -> None:
        now = self._clock.monotonic()
        if self._pruned_at is not None and now - self._pruned_at < PRUNE_SECONDS:
            return
        for _ in range(PRUNE_COUNT_MAX):
            async with self._db.transaction() as tx:
                if not await inbox.prune(tx, self._name, self._clock.now() - self._inbox_keep):
                    break
        self._pruned_at = now


def replays_alone(taken: Sequence[ParkedMessage]) -> list[ParkedMessage]:
    """The part to handle now: the first message alone if a person replays it, else all up to such messages.

    So what becomes of a replay is known for sure, also where a handler deals with the bad ones among many by
    itself. The rest stays due.
    """
    if taken and taken[0].dead_letter_id is not None:
        return [taken[0]]
    kept: list[ParkedMessage] = []
    closed: set[int] = set()
    for message in taken:
        if message.dead_letter_id is not None:
            closed.add(message.head_id)
        if message.head_id not in closed:
            kept.append(message)
    return kept
