"""A plan in its trace: one span when it starts, the parent of all it does, and one over its whole life when it ends.

Owns the names of these spans. Every command carries the first span's context: a joiner is one trace from the HR event
to the last cmdlet, however many days lie between.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from mesh_runtime import telemetry
from orchestrator.application.plan_metrics import PLAN_SECONDS, PLANS_ENDED
from orchestrator.domain.plan import PlanState
from orchestrator.domain.plan_status import PlanStatus

START_SPAN = "plan.start"
LIFE_SPAN = "plan"
TIMERS_SPAN = "plans.timers"
LINK_COUNT_MAX = 128
FAILED_ENDS = frozenset({PlanState.HELD, PlanState.COMPENSATED})


def plan_started(plan: PlanStatus, traceparent: str | None) -> str | None:
    """The traceparent to keep with the plan: of a span below the HR event's, or the event's where none is made."""
    parent = traceparent or telemetry.current_traceparent()
    if not telemetry.enabled() or (parent is not None and not telemetry.is_sampled(parent)):
        return parent
    context = telemetry.context_from({"traceparent": parent}) if parent else None
    span = telemetry.tracer("orchestrator").start_span(
        START_SPAN, context=context, kind=SpanKind.INTERNAL, attributes=_attributes(plan)
    )
    span.end()
    return telemetry.traceparent_of(span) if span.get_span_context().is_valid else parent


def plan_ended(plan: PlanStatus) -> None:
    """Count the end and, when traced, draw the plan's whole life as one span."""
    PLANS_ENDED.labels(plan.kind, plan.state.value).inc()
    if plan.finished_at is None:
        return
    PLAN_SECONDS.labels(plan.kind, plan.state.value).observe((plan.finished_at - plan.created_at).total_seconds())
    if not telemetry.enabled() or plan.traceparent is None or not telemetry.is_sampled(plan.traceparent):
        return
    span = telemetry.tracer("orchestrator").start_span(
        LIFE_SPAN,
        context=_context(plan),
        start_time=int(plan.created_at.timestamp() * 1e9),
        attributes={**_attributes(plan), "ucmesh.plan.state": plan.state.value, "ucmesh.plan.round": plan.round},
    )
    if plan.reason is not None:
        span.set_attribute("ucmesh.plan.reason", plan.reason.code)
        if plan.state in FAILED_ENDS:
            span.set_status(Status(StatusCode.ERROR, plan.reason.message[:500]))
    span.end(end_time=int(plan.finished_at.timestamp() * 1e9))


def timers_span(plans: Sequence[PlanStatus]) -> AbstractContextManager[Span]:
    """A span around a batch of fired timers, linked to the traces of its plans."""
    if not telemetry.enabled():
        return telemetry.span(TIMERS_SPAN)
    contexts = [trace.get_current_span(_context(plan)).get_span_context() for plan in plans[:LINK_COUNT_MAX]]
    links = [Link(context) for context in contexts if context.is_valid]
    return telemetry.span(TIMERS_SPAN, links=links, attributes={"ucmesh.plans": len(plans)})


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id in a W3C traceparent."""
    return traceparent.split("-")[1] if traceparent else None


def _context(plan: PlanStatus) -> Context:
    return telemetry.context_from({"traceparent": plan.traceparent or ""})


def _attributes(plan: PlanStatus) -> dict[str, AttributeValue]:
    return {
        "ucmesh.plan.id": str(plan.plan_id),
        "ucmesh.plan.kind": plan.kind,
        "ucmesh.customer": plan.customer,
        "ucmesh.tenant.id": plan.tenant_id,
        "ucmesh.employee.id": plan.employee_id,
    }
