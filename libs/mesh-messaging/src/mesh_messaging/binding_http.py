"""The CloudEvents HTTP binding: structured, batch and binary requests to events.

Owns which of the three a request is. One bad event of a batch never costs the others: it comes back as an
EnvelopeError with its place in the batch. Source: CloudEvents 1.0.2 HTTP protocol binding and JSON batch format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

import orjson

from mesh_messaging.event import (
    STRUCTURED_TYPE,
    CloudEvent,
    InvalidEnvelope,
    build_event,
    check_content_type,
    from_structured,
    parse_json,
)
from mesh_runtime.errors import TooLarge

BATCH_TYPE = "application/cloudevents-batch+json"
BATCH_EVENT_COUNT_MAX = 5_000
"""Most events in one batch request."""


@dataclass(frozen=True, slots=True)
class EnvelopeError:
    """One event of a request that is none: its place (from 0), why, and its bytes as they came (re-encoded in a
    batch).
    """

    index: int
    reason: str
    raw: bytes


def from_http(
    headers: Mapping[str, str], body: bytes, *, received_at: datetime | None = None
) -> list[CloudEvent | EnvelopeError]:
    """Read the events of a request, in order.

    Raises InvalidEnvelope when the request as a whole cannot be read (no CloudEvents mode recognised, batch body no
    JSON array), TooLarge when a batch has more than BATCH_EVENT_COUNT_MAX events. `headers` are looked up in lower
    case.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    content_type = lowered.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    traceparent = lowered.get("traceparent")
    if media_type == BATCH_TYPE:
        return _batch(parse_json(body), received_at, traceparent)
    if media_type == STRUCTURED_TYPE:
        try:
            return [from_structured(parse_json(body), received_at=received_at, traceparent=traceparent)]
        except InvalidEnvelope as error:
            return [EnvelopeError(0, str(error), body)]
    if "ce-specversion" in lowered or "ce-id" in lowered or "ce-type" in lowered:
        return [_binary(lowered, content_type, body, received_at, traceparent)]
    raise InvalidEnvelope(
        "the request is no CloudEvent",
        remedy=f"send {STRUCTURED_TYPE}, {BATCH_TYPE}, or ce-* headers with a JSON body",
    )


def _batch(document: object, received_at: datetime | None, traceparent: str | None) -> list[CloudEvent | EnvelopeError]:
    if not isinstance(document, list):
        raise InvalidEnvelope("a batch is a JSON array of events")
    if len(document) > BATCH_EVENT_COUNT_MAX:
        raise TooLarge(
            f"the batch has {len(document)} events, more than {BATCH_EVENT_COUNT_MAX}",
            remedy="send it in several requests",
        )
    events: list[CloudEvent | EnvelopeError] = []
    for index, item in enumerate(document):
        try:
            events.append(from_structured(item, received_at=received_at, traceparent=traceparent))
        except InvalidEnvelope as error:
            events.append(EnvelopeError(index, str(error), orjson.dumps(item)))
    return events


def _binary(
    headers: Mapping[str, str], content_type: str, body: bytes, received_at: datetime | None, traceparent: str | None
) -> CloudEvent | EnvelopeError:
    try:
        if content_type:
            check_content_type(content_type)
        attributes = {name[3:]: _unquote(name, value) for name, value in headers.items() if name.startswith("ce-")}
        return build_event(attributes, body, received_at=received_at, traceparent=traceparent)
    except InvalidEnvelope as error:
        return EnvelopeError(0, str(error), body)


def _unquote(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidEnvelope(f"header {name[:64]} is not percent-encoded UTF-8") from error
