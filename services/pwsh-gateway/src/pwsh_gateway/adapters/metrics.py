"""What the gateway counts.

Owns the names of the metrics. Refuses labels without a bound: no tenant, user or operation id is one.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from pwsh_gateway.application.visit_report import VisitReport

EXECUTIONS = Counter("ucmesh_pwsh_executions_total", "Cmdlets run", ["cmdlet", "outcome"])
DURATION = Histogram(
    "ucmesh_pwsh_execution_seconds",
    "Duration of cmdlets",
    ["module"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600),
)
OPERATIONS = Counter("ucmesh_pwsh_operations_total", "Operations finished", ["operation", "outcome"])
REQUEUED = Counter("ucmesh_pwsh_operations_requeued_total", "Operations put back to the queue", ["reason"])
SESSIONS = Gauge("ucmesh_pwsh_sessions", "Living sessions of this replica", ["module", "state"])
QUEUE_DEPTH = Gauge("ucmesh_pwsh_queue_depth", "Operations waiting, counted up to a bound")
QUEUE_AGE = Gauge("ucmesh_pwsh_queue_age_seconds", "Age of the oldest waiting operation")


def measure(depth: int, age_seconds: float, sessions: Iterable[tuple[str, str]]) -> None:
    """Sets the gauges. `sessions` are (module, state) of the living ones."""
    QUEUE_DEPTH.set(depth)
    QUEUE_AGE.set(age_seconds)
    SESSIONS.clear()
    for module, state in sessions:
        SESSIONS.labels(module, state).inc()


def observe(report: VisitReport) -> None:
    """Counts a visit."""
    module = report.visit.stream.module
    for execution in report.executions:
        EXECUTIONS.labels(execution.cmdlet, execution.outcome).inc()
        DURATION.labels(module).observe(execution.duration_ms / 1000)
    for item in report.finished:
        OPERATIONS.labels(item.operation.operation, item.reply.verdict.outcome).inc()
    for back in report.requeued:
        REQUEUED.labels(back.problem.code if back.problem is not None else "not-begun").inc()
