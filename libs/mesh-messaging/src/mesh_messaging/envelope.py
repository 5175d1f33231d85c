"""The CloudEvents envelope: the door to event model and bindings, and the making of new events.

Owns `new_event`; the rest is imported here so that a service needs one name. Model and checks are in `event.py`, the
bindings in `binding_kafka.py` and `binding_http.py`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from mesh_messaging.binding_http import BATCH_EVENT_COUNT_MAX, EnvelopeError, from_http
from mesh_messaging.binding_kafka import from_record, header_pairs, to_headers
from mesh_messaging.event import (
    DATA_BYTES_MAX,
    STRUCTURED_TYPE,
    CloudEvent,
    InvalidEnvelope,
    build_event,
    format_time,
)
from mesh_runtime.clock import Clock, IdGenerator
from mesh_runtime.telemetry import current_traceparent

__all__ = [
    "BATCH_EVENT_COUNT_MAX",
    "DATA_BYTES_MAX",
    "STRUCTURED_TYPE",
    "CloudEvent",
    "EnvelopeError",
    "InvalidEnvelope",
    "format_time",
    "from_http",
    "from_record",
    "header_pairs",
    "new_event",
    "to_headers",
]


def new_event(
    type: str,  # noqa: A002 - the attribute's name in the specification
    source: str,
    data: Mapping[str, Any] | bytes,
    *,
    subject: str | None = None,
    tenant: str | None = None,
    ids: IdGenerator,
    clock: Clock,
    traceparent: str | None = None,
    extensions: Mapping[str, str] | None = None,
) -> CloudEvent:
    """Make an event that happens now.

    `traceparent` unset takes the current span; pass the one of the message that caused this event to stay in its trace.
    Raises InvalidEnvelope when an attribute or the size of the payload is beyond the limits.
    """
    body = data if isinstance(data, bytes) else orjson.dumps(dict(data))
    attributes = {"specversion": "1.0", "id": str(ids.new()), "source": source, "type": type}
    if subject is not None:
        attributes["subject"] = subject
    if tenant is not None:
        attributes["tenant"] = tenant
    attributes.update(extensions or {})
    trace = traceparent or current_traceparent()
    return build_event(attributes, body, received_at=clock.now(), traceparent=trace)
