"""The CloudEvents Kafka binding: binary mode out, binary and structured mode in.

Owns the header names `ce_*`, `content-type` and `traceparent`. Source: CloudEvents 1.0.2 Kafka protocol binding.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from mesh_messaging.event import (
    STRUCTURED_TYPE,
    CloudEvent,
    InvalidEnvelope,
    build_event,
    check_content_type,
    format_time,
    from_structured,
    parse_json,
)


def to_headers(event: CloudEvent) -> list[tuple[str, bytes]]:
    """Kafka headers of the event in binary mode; the record's value is `event.data`."""
    return [(name, value.encode()) for name, value in header_pairs(event)]


def header_pairs(event: CloudEvent) -> list[tuple[str, str]]:
    """The same headers as text, as the outbox stores them."""
    pairs = [
        ("ce_specversion", "1.0"),
        ("ce_id", event.id),
        ("ce_source", event.source),
        ("ce_type", event.type),
        ("ce_time", format_time(event.time)),
    ]
    if event.subject is not None:
        pairs.append(("ce_subject", event.subject))
    if event.tenant is not None:
        pairs.append(("ce_tenant", event.tenant))
    pairs.extend((f"ce_{name}", value) for name, value in event.extensions.items())
    pairs.append(("content-type", "application/json"))
    if event.traceparent is not None:
        pairs.append(("traceparent", event.traceparent))
    return pairs


def from_record(
    headers: Iterable[tuple[str, bytes]], value: bytes | None, *, received_at: datetime | None = None
) -> CloudEvent:
    """Read a Kafka record. Headers outside the specification are ignored.

    An absent `time` becomes `received_at`, or now. Raises InvalidEnvelope with what is wrong.
    """
    attributes: dict[str, str] = {}
    content_type: str | None = None
    traceparent: str | None = None
    for name, raw in headers:
        known = _known(name)
        if known is None:
            continue
        if known == "traceparent":
            traceparent = raw.decode("ascii", "replace") if raw is not None else None
        elif known == "content-type":
            content_type = _decode(name, raw)
        elif known in attributes:
            raise InvalidEnvelope(f"header {name[:64]} is given twice")
        else:
            attributes[known] = _decode(name, raw)
    if value is None:
        raise InvalidEnvelope("the record has no value")
    if content_type is not None and content_type != "application/json":
        if content_type.partition(";")[0].strip().lower() == STRUCTURED_TYPE:
            return from_structured(parse_json(value), received_at=received_at, traceparent=traceparent)
        check_content_type(content_type)
    return build_event(attributes, value, received_at=received_at, traceparent=traceparent)


@lru_cache(maxsize=1_024)
def _known(header: str) -> str | None:
    """The attribute a header carries, the two headers that are no attributes by their own name, or None."""
    name = header.lower()
    if name.startswith("ce_") and name != "ce_content-type":
        return name[3:]
    return name if name in {"content-type", "traceparent"} else None


def _decode(name: str, raw: bytes | None) -> str:
    if raw is None:
        raise InvalidEnvelope(f"header {name[:64]} has no value")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEnvelope(f"header {name[:64]} is not UTF-8") from error
