"""One trace for each HR event, also where many came in one request or one poll without traces of their own."""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from mesh_runtime import telemetry
from orchestrator.domain.hr_event import HrEvent

EVENT_SPAN = "hr.event"


def event_traces(events: Sequence[HrEvent]) -> list[str | None]:
    """The traceparent of each event: its own, or the current one for an event alone, or a new trace linked to it."""
    if not telemetry.enabled():
        return [event.traceparent for event in events]
    if len(events) == 1:
        return [events[0].traceparent or telemetry.current_traceparent()]
    current = trace.get_current_span().get_span_context()
    links = [Link(current)] if current.is_valid else []
    return [event.traceparent or _new_trace(event, links) for event in events]


def _new_trace(event: HrEvent, links: Sequence[Link]) -> str:
    return telemetry.begin_trace(
        EVENT_SPAN,
        kind=SpanKind.CONSUMER,
        links=links,
        attributes=lambda: {
            "cloudevents.event_id": event.event_id,
            "cloudevents.event_source": event.source,
            "ucmesh.customer": event.customer,
            "ucmesh.employee.id": event.employee_id,
        },
    )
