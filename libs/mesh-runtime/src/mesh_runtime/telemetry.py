"""Traces: W3C context in and out of every hop, spans exported over OTLP/HTTP.

Owns the tracer provider and propagation. Refuses to cost anything when tracing is off or the caller's trace is not
sampled, and refuses to hold a process at its end: shutdown is bounded.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

EXPORT_TIMEOUT_SECONDS = 5
QUEUE_SIZE_MAX = 20_000
BATCH_SIZE_MAX = 2_000

_propagator = TraceContextTextMapPropagator()
_provider: TracerProvider | None = None
_ratio = 0.0
_tracers: dict[str, Tracer] = {}
_CHOSEN = Context({"ucmesh.chosen": True})
"""The context of a new trace that is known to be sampled."""
_untraced: AbstractContextManager[Span] = nullcontext(trace.INVALID_SPAN)


def configure(service: str, otlp_endpoint: str | None, ratio: float = 1.0, *, ca_file: Path | None = None) -> None:
    """Starts exporting spans of this process to `<otlp_endpoint>/v1/traces`; does nothing when the endpoint is None.

    `ratio` is the share of traces begun here that are sampled; a caller's decision is always kept. Headers the backend
    asks for come from the standard variable OTEL_EXPORTER_OTLP_HEADERS; proxy variables are not used.
    """
    if otlp_endpoint is None:
        return
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces",
        timeout=EXPORT_TIMEOUT_SECONDS,
        certificate_file=str(ca_file) if ca_file is not None else None,
        session=session,
    )
    provider = _install(service, ratio)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=QUEUE_SIZE_MAX, max_export_batch_size=BATCH_SIZE_MAX, schedule_delay_millis=1000
        )
    )


def shutdown(timeout_seconds: float = 2.0) -> bool:
    """Flushes and stops exporting; False when the backend did not take it all in `timeout_seconds`."""
    provider = _provider
    if provider is None:
        return True
    # The SDK's own shutdown may wait far longer for a dead backend; a daemon thread does not hold the process.
    worker = threading.Thread(target=provider.shutdown, name="telemetry-shutdown", daemon=True)
    worker.start()
    worker.join(timeout_seconds)
    return not worker.is_alive()


def enabled() -> bool:
    """Whether spans of this process go anywhere."""
    return _provider is not None


def tracer(name: str) -> Tracer:
    """A tracer; a no-op one as long as tracing is not configured."""
    if _provider is None:
        return trace.get_tracer(name)
    # The SDK makes a name, a scope and a warnings filter at every call before it finds that it has this tracer.
    own = _tracers.get(name)
    if own is None:
        own = _tracers[name] = _provider.get_tracer(name)
    return own


def is_sampled(traceparent: str) -> bool:
    """Whether spans of this trace are made; others would only be thrown away."""
    return bool(int(traceparent[-2:], 16) & TraceFlags.SAMPLED)


def begin_trace(
    name: str, *, kind: SpanKind, links: Sequence[Link] = (), attributes: Callable[[], Attributes] = dict
) -> str:
    """The traceparent of a new trace whose first span is over at once; `attributes` are asked for when it is sampled.

    Made for traces that begin by the thousand: one that is not sampled costs two random numbers.
    """
    if random.random() >= _ratio:
        flags = TraceFlags.RANDOM_TRACE_ID
        return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-{flags:02x}"
    span = tracer("mesh_runtime").start_span(name, context=_CHOSEN, kind=kind, links=links, attributes=attributes())
    span.end()
    return traceparent_of(span)


def traceparent_of(span: Span) -> str:
    """The span's context as a W3C `traceparent` value."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes = None,
    context: Context | None = None,
    links: Sequence[Link] | None = None,
    inner: bool = False,
) -> AbstractContextManager[Span]:
    """A span around the block; close to free when tracing is off or the surrounding trace is not sampled.

    An `inner` span is made only inside a trace: a poll that found nothing is no trace of its own.
    """
    if _provider is None:
        return _untraced
    if context is None and not links:
        parent = trace.get_current_span().get_span_context()
        if not parent.trace_flags.sampled and (parent.is_valid or inner):
            return _untraced
    return tracer("mesh_runtime").start_as_current_span(
        name, context=context, kind=kind, attributes=attributes, links=links
    )


def context_from(carrier: Mapping[str, str]) -> Context:
    """The context named by `traceparent` in `carrier`; an empty one when it is missing or malformed."""
    return _propagator.extract(carrier, context=Context())


def current_traceparent() -> str | None:
    """The current context as a W3C `traceparent` value."""
    span = trace.get_current_span()
    return traceparent_of(span) if span.get_span_context().is_valid else None


class SpanList(SpanExporter):
    """Collects finished spans in memory, for tests."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self.closed:
            self.spans.extend(spans)
        return SpanExportResult.SUCCESS

    def named(self, name: str) -> list[ReadableSpan]:
        """The collected spans of that name, in order of their end."""
        return [span for span in self.spans if span.name == name]


@contextmanager
def recording() -> Iterator[SpanList]:
    """Traces everything for the block and hands over the finished spans. For tests."""
    exporter = SpanList()
    provider = _provider if _provider is not None else _install("test", 1.0)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield exporter
    finally:
        exporter.closed = True


class _Roots(TraceIdRatioBased):
    """Samples new traces by the ratio, but for those `begin_trace` has chosen."""

    def should_sample(self, parent_context: Context | None, trace_id: int, *given: Any, **named: Any) -> SamplingResult:
        if parent_context is _CHOSEN:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, named.get("attributes"))
        return super().should_sample(parent_context, trace_id, *given, **named)


def _install(service: str, ratio: float) -> TracerProvider:
    global _provider, _ratio
    if _provider is not None:
        return _provider
    _ratio = ratio
    _provider = TracerProvider(
        resource=Resource.create({"service.name": service}),
        sampler=ParentBased(_Roots(ratio)),
        shutdown_on_exit=False,
    )
    trace.set_tracer_provider(_provider)
    return _provider
