"""What a handler gets: one message with its place, its event and its trace.

Owns reading a raw record into a message. Refuses to hide broken records: they become a Delivery without a message.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.binding_kafka import from_record
from mesh_messaging.event import CloudEvent, InvalidEnvelope
from mesh_messaging.failures import Failure, classify
from mesh_messaging.records import RawRecord, digest, key_text
from mesh_runtime.values import lean_dataclass


@lean_dataclass(frozen=True, slots=True)
class InboundMessage:
    """One delivered event. `partition` and `offset` are -1 if it came in over HTTP; `attempt` counts from 1."""

    topic: str
    partition: int
    offset: int
    key: str | None
    event: CloudEvent
    received_at: datetime
    attempt: int = 1

    @property
    def span_context(self) -> SpanContext | None:
        """The span that sent this message; unset when it was not traced."""
        traceparent = self.event.traceparent
        if traceparent is None:
            return None
        _, trace_id, span_id, flags = traceparent.split("-")
        return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))

    @property
    def context(self) -> Context:
        """The context to start a span in, so that it joins the trace of this message."""
        span_context = self.span_context
        if span_context is None:
            return Context()
        return trace.set_span_in_context(NonRecordingSpan(span_context), Context())


Handler = Callable[[AsyncConnection, Sequence[InboundMessage]], Awaitable[None]]
"""Takes messages of one event type in order, in the transaction `tx`. Must not commit and must not call the network.

Raising fails the batch: the poison message is then found by halving, so a handler may see a message several times, each
time in a transaction that was rolled back."""


@lean_dataclass(frozen=True, slots=True)
class Delivery:
    """A record with either its message or the reason why it is none."""

    raw: RawRecord
    message: InboundMessage | None
    failure: Failure | None

    @property
    def identity(self) -> tuple[str, str]:
        """(source, id) for the inbox; what is no event is known by its place and content."""
        if self.message is not None:
            return self.message.event.source, self.message.event.id
        return f"kafka:{self.raw.topic}/{self.raw.partition}", f"{self.raw.offset}:{digest(self.raw).hex()}"


def read_delivery(raw: RawRecord, received_at: datetime, attempt: int = 1) -> Delivery:
    """Parse a record; never raises for what is in it."""
    try:
        event = from_record(raw.headers, raw.value, received_at=received_at)
    except InvalidEnvelope as error:
        return Delivery(raw, None, classify(error))
    key = key_text(raw.key)
    return Delivery(raw, InboundMessage(raw.topic, raw.partition, raw.offset, key, event, received_at, attempt), None)
