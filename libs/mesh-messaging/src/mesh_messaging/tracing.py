"""The consumer's span of a batch, linked to every message in it (OpenTelemetry messaging conventions).

Owns attribute names. Refuses to pick one message as the parent: a batch has many causes; `InboundMessage.context`
leads back into each one's trace.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from opentelemetry.trace import Link, Span, SpanKind

from mesh_messaging.message import InboundMessage
from mesh_runtime import telemetry

LINK_COUNT_MAX = 128
"""The SDK's own default limit; further links would be dropped there."""


def batch_span(
    consumer: str, messages: Sequence[InboundMessage], *, retried: bool = False
) -> AbstractContextManager[Span]:
    """A span `process <consumer>` around the handling of `messages`; nearly free while tracing is off."""
    if not telemetry.enabled():
        return telemetry.span("")
    contexts = (message.span_context for message in messages)
    links = [Link(context) for context in contexts if context is not None][:LINK_COUNT_MAX]
    return telemetry.span(
        f"process {consumer}",
        kind=SpanKind.CONSUMER,
        links=links,
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": consumer,
            "messaging.batch.message_count": len(messages),
            "ucmesh.retried": retried,
        },
    )
