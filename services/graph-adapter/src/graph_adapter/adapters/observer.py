"""Spans and metrics of operations and rounds.

Owns their names and attributes. Refuses tenants as metric labels (there may be thousands) and everything that
could be personal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache

from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation import get_current_span
from prometheus_client import Counter, Gauge, Histogram

from graph_adapter.domain.operation import Command, Outcome, Reply
from mesh_runtime import telemetry

LINK_COUNT_MAX = 32
SERIES_REMEMBERED_MAX = 500

_OPERATIONS = Counter("ucmesh_graph_operations", "Operations that ended", ["operation", "outcome"])
_SECONDS = Histogram(
    "ucmesh_graph_operation_seconds",
    "From the first lease of an operation to its end",
    ["operation"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
_REQUESTS = Counter("ucmesh_graph_requests", "Requests sent to Microsoft Graph, counted inside $batch")
_ROUNDS = Counter("ucmesh_graph_rounds", "Rounds of requests")
_THROTTLED = Counter("ucmesh_graph_throttled", "Times a tenant was paused because Microsoft throttled it")
_PAUSED = Counter("ucmesh_graph_throttled_seconds", "Pauses Microsoft asked for, in seconds")
_QUEUE_AGE = Gauge("ucmesh_graph_queue_age_seconds", "How long the oldest operation that could run has waited")

_tracer = telemetry.tracer("graph_adapter")


class MeshObserver:
    """Implements the port `Observer`."""

    @contextmanager
    def round(self, tenant_id: str, operations: Sequence[Command], request_count: int) -> Iterator[None]:
        _ROUNDS.inc()
        _REQUESTS.inc(request_count)
        if not telemetry.enabled():
            yield
            return
        attributes: dict[str, str | int] = {
            "ucmesh.tenant_id": tenant_id,
            "ucmesh.operation_count": len(operations),
            "ucmesh.request_count": request_count,
            "server.address": "graph",
        }
        with telemetry.span("graph.round", kind=SpanKind.CLIENT, attributes=attributes, links=_links(operations)):
            yield

    def finished(self, reply: Reply) -> str | None:
        command, result = reply.command, reply.result
        count, seconds = _series(command.operation, result.outcome.value)
        count.inc()
        seconds.observe((reply.finished_at - reply.started_at).total_seconds())
        if command.traceparent is None or not telemetry.enabled() or not _sampled(command.traceparent):
            return command.traceparent
        span = _tracer.start_span(
            f"graph {command.operation}",
            context=telemetry.context_from({"traceparent": command.traceparent}),
            kind=SpanKind.CLIENT,
            start_time=_nanoseconds(reply.started_at),
            attributes={
                "ucmesh.operation_id": str(command.operation_id),
                "ucmesh.operation": f"{command.operation}@{command.version}",
                "ucmesh.plan_id": str(command.plan_id or ""),
                "ucmesh.tenant_id": command.tenant_id,
                "ucmesh.outcome": result.outcome.value,
                "ucmesh.changed": result.changed,
                "ucmesh.attempts": reply.attempts,
                "microsoft.request_ids": list(reply.request_ids),
            },
        )
        if result.error is not None:
            span.set_attribute("error.type", result.error.code)
            if result.outcome is Outcome.FAILED:
                span.set_status(Status(StatusCode.ERROR, result.error.code))
        span.end(_nanoseconds(reply.finished_at))
        context = span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def throttled(self, tenant_id: str, seconds: float) -> None:
        del tenant_id
        _THROTTLED.inc()
        _PAUSED.inc(seconds)

    def queue_age(self, seconds: float) -> None:
        _QUEUE_AGE.set(seconds)


@lru_cache(maxsize=SERIES_REMEMBERED_MAX)
def _series(operation: str, outcome: str) -> tuple[Counter, Histogram]:
    """Found once: looking a series up by its labels costs more than counting."""
    return _OPERATIONS.labels(operation, outcome), _SECONDS.labels(operation)


def _sampled(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & 1)


def _links(operations: Sequence[Command]) -> list[Link]:
    links: list[Link] = []
    for command in operations:
        if command.traceparent is not None and _sampled(command.traceparent):
            context = get_current_span(telemetry.context_from({"traceparent": command.traceparent})).get_span_context()
            links.append(Link(context, {"ucmesh.operation_id": str(command.operation_id)}))
            if len(links) == LINK_COUNT_MAX:
                break
    return links


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000_000)
