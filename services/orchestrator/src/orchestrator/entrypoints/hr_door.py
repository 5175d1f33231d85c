"""The two doors of HR events (HTTP and Apache Kafka): read what came, take in what can be, keep the rest aside.

Owns which bad events cost only themselves. Refuses decisions about people: those are in `receive_hr_events`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.binding_kafka import to_headers
from mesh_messaging.deadletters_rows import NewDeadLetter, put_many
from mesh_messaging.envelope import STRUCTURED_TYPE, CloudEvent
from mesh_messaging.failures import Failure, classify
from mesh_messaging.inbox import admit
from mesh_messaging.message import InboundMessage
from mesh_messaging.records import RawRecord
from mesh_runtime.errors import InvalidInput
from mesh_runtime.values import lean_dataclass
from orchestrator import wire
from orchestrator.application import Reception, Rules, customer_unknown, known_customers, receive_hr_events
from orchestrator.domain.hr_event import HrEvent
from orchestrator.domain.ports import Refusal

ACCEPTED, DUPLICATE, DEAD_LETTERED = "accepted", "duplicate", "dead-lettered"


@lean_dataclass(frozen=True, slots=True)
class Bad:
    """What cannot be taken in: the bytes as they came, and why."""

    event: CloudEvent | None
    raw: bytes
    error: InvalidInput


@dataclass(slots=True)
class Result:
    """What became of one event of a request."""

    id: str | None
    status: str
    reason: str | None = None
    dead_letter_id: UUID | None = None
    plan_id: UUID | None = None


async def take_request(
    rules: Rules, tx: AsyncConnection, items: Sequence[CloudEvent | Bad], *, is_batch: bool
) -> list[Result]:
    """One result for each item, in order. Raises InvalidInput when an event sent alone is bad: nothing is kept then."""
    read = [item if isinstance(item, Bad) else _read(item) for item in items]
    customers = await known_customers(rules, tx, [each for each in read if isinstance(each, HrEvent)])
    events = [item if isinstance(item, CloudEvent) else item.event for item in items]
    checked = [_checked(each, event, customers) for each, event in zip(read, events, strict=True)]
    if not is_batch and isinstance(checked[0], Bad):
        raise checked[0].error
    good = {index: each for index, each in enumerate(checked) if isinstance(each, HrEvent)}
    new = await admit(tx, wire.CONSUMER, [event for i, event in enumerate(events) if i in good and event is not None])
    first: dict[int, HrEvent] = {}
    for index, each in good.items():
        identity = (each.source, each.event_id)
        if identity in new:
            new.discard(identity)
            first[index] = each
    receptions = dict(zip(first, await receive_hr_events(rules, tx, list(first.values())), strict=True))
    letters = await _give_up(rules, tx, {i: each for i, each in enumerate(checked) if isinstance(each, Bad)})
    return [_result(i, each, events[i], receptions, letters) for i, each in enumerate(checked)]


async def take_messages(rules: Rules, tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
    """The handler of HR events from Apache Kafka (the inbox has been asked already).

    Bad ones among many become dead letters here, so that the batch needs no halving; a bad one alone is raised, so that
    a replayed dead letter is opened again instead of leaving a second one.
    """
    good: list[tuple[InboundMessage, HrEvent]] = []
    bad: list[tuple[InboundMessage, InvalidInput]] = []
    for message in messages:
        read = _read(message.event)
        if isinstance(read, Bad):
            bad.append((message, read.error))
        else:
            good.append((message, read))
    receptions = await receive_hr_events(rules, tx, [event for _, event in good])
    for (message, _), reception in zip(good, receptions, strict=True):
        if reception.rejection is not None:
            bad.append((message, _rejected(reception.rejection)))
    if bad and len(messages) == 1:
        raise bad[0][1]
    letters = [NewDeadLetter(_record(message), _failure(error), 1, admitted=True) for message, error in bad]
    await put_many(tx, wire.CONSUMER, letters, ids=rules.ids, clock=rules.clock)


def _read(event: CloudEvent) -> HrEvent | Bad:
    try:
        return wire.hr_event(event)
    except InvalidInput as error:
        return Bad(event, event.data, error)


def _checked(read: HrEvent | Bad, event: CloudEvent | None, customers: frozenset[str]) -> HrEvent | Bad:
    if isinstance(read, Bad) or read.customer in customers:
        return read
    return Bad(event, event.data if event else b"", _rejected(customer_unknown(read.customer)))


def _rejected(refusal: Refusal) -> InvalidInput:
    return InvalidInput(refusal.message, code=refusal.code, remedy=refusal.remedy)


async def _give_up(rules: Rules, tx: AsyncConnection, bad: dict[int, Bad]) -> dict[int, UUID]:
    letters = [NewDeadLetter(_http_record(each), _failure(each.error), 1, admitted=False) for each in bad.values()]
    ids = await put_many(tx, wire.CONSUMER, letters, ids=rules.ids, clock=rules.clock)
    return dict(zip(bad, ids, strict=True))


def _failure(error: InvalidInput) -> Failure:
    """Most of these are never raised, so their code says better than a place which of them belong together."""
    return replace(classify(error), fingerprint=error.code)


def _http_record(bad: Bad) -> RawRecord:
    """As the record the event would have been; a broken envelope is kept as the structured document it came as."""
    if bad.event is None:
        return RawRecord(wire.HR_TOPIC, -1, -1, None, (("content-type", STRUCTURED_TYPE.encode()),), bad.raw)
    key = bad.event.subject.encode() if bad.event.subject else None
    return RawRecord(wire.HR_TOPIC, -1, -1, key, tuple(to_headers(bad.event)), bad.raw)


def _record(message: InboundMessage) -> RawRecord:
    key = message.key.encode() if message.key is not None else None
    headers = tuple(to_headers(message.event))
    return RawRecord(message.topic, message.partition, message.offset, key, headers, message.event.data)


def _result(
    index: int,
    checked: HrEvent | Bad,
    event: CloudEvent | None,
    receptions: dict[int, Reception],
    letters: dict[int, UUID],
) -> Result:
    event_id = event.id if event is not None else None
    if isinstance(checked, Bad):
        return Result(event_id, DEAD_LETTERED, checked.error.message, letters[index])
    reception = receptions.get(index)
    if reception is None:
        return Result(event_id, DUPLICATE)
    stale = "older than what is known; nothing changes" if reception.outcome == "stale" else None
    return Result(event_id, ACCEPTED, stale, plan_id=reception.plan_id)
