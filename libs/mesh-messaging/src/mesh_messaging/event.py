"""One CloudEvents 1.0 event: its attributes, their limits and their checks.

Owns what a valid event is, and structured mode (one JSON document), which every transport shares. Refuses
everything off the specification with InvalidEnvelope and says what is wrong; never looks inside `data` beyond "it
is JSON in UTF-8".

Sources: CloudEvents 1.0.2 core, JSON format and distributed tracing extension; W3C Trace Context.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

import orjson

from mesh_runtime.errors import InvalidInput
from mesh_runtime.values import lean_dataclass

DATA_BYTES_MAX = 900_000
"""Largest payload of an event in bytes; leaves room for headers below Apache Kafka's default limit of one MiB a
batch.
"""
ATTRIBUTE_LENGTH_MAX = 1_024
"""Longest value of one attribute, in characters."""
EXTENSION_COUNT_MAX = 32
"""Most extension attributes of one event."""
STRUCTURED_TYPE = "application/cloudevents+json"

_KNOWN = frozenset(
    ("specversion", "id", "source", "type", "time", "subject", "tenant", "datacontenttype", "dataschema", "traceparent")
)
_NAME = re.compile(r"[a-z0-9]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9!#$&^_.-]+\+)?json(?:\s*;\s*charset=\"?utf-?8\"?)?", re.IGNORECASE)


class InvalidEnvelope(InvalidInput):
    """A record or a body that is no CloudEvent of the mesh; the message says which attribute and why."""

    code = "invalid-envelope"


@lean_dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. `data` is JSON in UTF-8; `time` is aware; `traceparent` unset means that nobody traced the cause."""

    id: str
    source: str
    type: str
    time: datetime
    subject: str | None
    tenant: str | None
    data: bytes
    traceparent: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """Parse `data`. Raises InvalidEnvelope when it is not JSON in UTF-8."""
        return parse_json(self.data)


def from_structured(
    document: object, *, received_at: datetime | None = None, traceparent: str | None = None
) -> CloudEvent:
    """Read a structured-mode document (the parsed JSON). Raises InvalidEnvelope with what is wrong."""
    if not isinstance(document, dict):
        raise InvalidEnvelope("a structured event is a JSON object")
    attributes: dict[str, str] = {}
    for name, value in document.items():
        if name in ("data", "data_base64") or value is None:
            continue
        if isinstance(value, bool):
            attributes[name] = "true" if value else "false"
        elif isinstance(value, str | int):
            attributes[name] = str(value)
        else:
            raise InvalidEnvelope(f"attribute {name[:64]!r} is neither text nor a whole number nor a boolean")
    content_type = attributes.get("datacontenttype")
    if content_type is not None:
        check_content_type(content_type)
    return build_event(attributes, _structured_data(document), received_at=received_at, traceparent=traceparent)


def build_event(
    attributes: Mapping[str, str], data: bytes, *, received_at: datetime | None, traceparent: str | None
) -> CloudEvent:
    """Check attributes (names without prefix) and payload, and make the event. Raises InvalidEnvelope."""
    version = attributes.get("specversion")
    if version != "1.0":
        raise InvalidEnvelope("attribute specversion is missing" if version is None else "specversion is not 1.0")
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise InvalidEnvelope(f"attribute {name} is missing")
    _check_values(attributes)
    extensions = _extensions(attributes)
    if len(data) > DATA_BYTES_MAX:
        raise InvalidEnvelope(f"data is larger than {DATA_BYTES_MAX} bytes")
    parse_json(data)
    trace = traceparent or attributes.get("traceparent")
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        time=parse_time(attributes["time"]) if "time" in attributes else received_at or datetime.now(UTC),
        subject=attributes.get("subject") or None,
        tenant=attributes.get("tenant") or None,
        data=data,
        # A malformed trace header must not cost the event: W3C Trace Context says to go on without it.
        traceparent=trace if trace is not None and _TRACEPARENT.fullmatch(trace) else None,
        extensions=extensions,
    )


def _check_values(attributes: Mapping[str, str]) -> None:
    # One look at all of them together: this runs for every record that is read.
    together = "".join(attributes.values())
    if len(together) <= ATTRIBUTE_LENGTH_MAX and not _CONTROL.search(together):
        return
    for name, value in attributes.items():
        if len(value) > ATTRIBUTE_LENGTH_MAX:
            raise InvalidEnvelope(f"attribute {name[:64]} is longer than {ATTRIBUTE_LENGTH_MAX} characters")
        if _CONTROL.search(value):
            raise InvalidEnvelope(f"attribute {name[:64]} has control characters")


def _extensions(attributes: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in attributes if name not in _KNOWN]
    if len(names) > EXTENSION_COUNT_MAX:
        raise InvalidEnvelope(f"more than {EXTENSION_COUNT_MAX} extension attributes")
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise InvalidEnvelope(f"attribute name {name[:64]!r} is not lower-case letters and digits")
    return {name: attributes[name] for name in names}


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8. Raises InvalidEnvelope."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidEnvelope(f"data is not JSON in UTF-8: {str(error)[:200]}") from error


def parse_time(text: str) -> datetime:
    """RFC 3339 with an offset, to aware UTC. Raises InvalidEnvelope."""
    if _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidEnvelope(f"time {text[:64]!r} is not RFC 3339 with an offset")


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def check_content_type(content_type: str) -> None:
    """Raise InvalidEnvelope unless the payload is declared as JSON in UTF-8."""
    if _JSON_TYPE.fullmatch(content_type.strip()) is None:
        raise InvalidEnvelope(f"content type {content_type[:100]!r} is not JSON in UTF-8")


def _structured_data(document: Mapping[str, Any]) -> bytes:
    if "data" in document and "data_base64" in document:
        raise InvalidEnvelope("data and data_base64 exclude each other")
    if "data" in document:
        return orjson.dumps(document["data"])
    encoded = document.get("data_base64")
    if encoded is None:
        raise InvalidEnvelope("the event has no data")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidEnvelope("data_base64 is not base64") from error
