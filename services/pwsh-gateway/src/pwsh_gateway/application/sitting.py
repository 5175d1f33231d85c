"""One operation while it is being served, and the running of one cmdlet for it: span, execution row, answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from mesh_runtime import telemetry
from mesh_runtime.clock import Clock, IdGenerator
from mesh_runtime.logs import mask
from pwsh_gateway.domain.catalogue import Entry
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import request_ids
from pwsh_gateway.domain.operations import Intent, Operation
from pwsh_gateway.domain.ports import HeldSession
from pwsh_gateway.domain.procedure import Conclusion, Procedure, Step
from pwsh_gateway.domain.protocol import Answer, Invocation, Lost, Raised, Returned
from pwsh_gateway.domain.sessions import Execution

# A command may run past its deadline once it is begun, but it gets no less than this to be answered.
TIMEOUT_SECONDS_MIN = 30


@dataclass(slots=True)
class Sitting:
    """`written` is True once the changing cmdlet may have been sent, `interrupted` when we failed ourselves."""

    operation: Operation
    entry: Entry
    needs: frozenset[str] | None
    procedure: Procedure | None = None
    intent: Intent | None = None
    written: bool = False
    interrupted: bool = False
    conclusion: Conclusion | None = None
    not_before: datetime | None = None
    request_ids: list[str] = field(default_factory=list)

    def step(self, answer: Answer | None) -> Step | None:
        """The next step of the procedure; None once it has come to its conclusion."""
        if self.procedure is None:
            return None
        try:
            return self.procedure.send(answer)
        except StopIteration as end:
            self.conclusion = end.value
            return None


@dataclass(frozen=True, slots=True)
class CmdletRun:
    """An answer and its line in the execution log."""

    answer: Answer
    execution: Execution


async def run_cmdlet(
    session: HeldSession,
    invocation: Invocation,
    sitting: Sitting,
    *,
    clock: Clock,
    ids: IdGenerator,
    config: GatewayConfig,
) -> CmdletRun:
    """Runs one cmdlet in the session, inside a span that is a child of the command's."""
    operation = sitting.operation
    session.serve(operation.operation_id)
    started_at, began = clock.now(), clock.monotonic()
    remaining = (operation.deadline - started_at).total_seconds()
    timeout_seconds = min(config.execution_seconds_max, max(remaining, TIMEOUT_SECONDS_MIN))
    context = telemetry.context_from({"traceparent": operation.traceparent} if operation.traceparent else {})
    attributes: dict[str, str | int] = {
        "ucmesh.operation_id": str(operation.operation_id),
        "ucmesh.operation": operation.operation,
        "ucmesh.plan_id": str(operation.plan_id or ""),
        "ucmesh.tenant_id": operation.stream.tenant_id,
        "ucmesh.session_id": str(session.session_id),
        "ucmesh.attempt": operation.attempts,
    }
    with telemetry.span(
        f"cmdlet {invocation.cmdlet}", kind=SpanKind.CLIENT, attributes=attributes, context=context
    ) as span:
        answer = await session.invoke(invocation, timeout_seconds)
        _describe(span, answer, sitting)
    duration_ms = max(answer.duration_ms, round((clock.monotonic() - began) * 1000))
    trace_id = operation.traceparent.split("-")[1] if operation.traceparent else None
    execution = Execution(
        execution_id=ids.new(),
        session_id=session.session_id,
        operation_id=operation.operation_id,
        tenant_id=operation.stream.tenant_id,
        cmdlet=invocation.cmdlet,
        params=cast(Mapping[str, Any], mask(invocation.params)),
        outcome="succeeded" if isinstance(answer, Returned) else "error" if isinstance(answer, Raised) else "lost",
        error=cast(dict[str, Any] | None, mask(_error(answer))),
        warnings=() if isinstance(answer, Lost) else answer.warnings,
        attempt=operation.attempts,
        started_at=started_at,
        duration_ms=duration_ms,
        trace_id=trace_id,
    )
    return CmdletRun(answer, execution)


def _describe(span: Span, answer: Answer, sitting: Sitting) -> None:
    match answer:
        case Returned():
            span.set_attribute("ucmesh.outcome", "succeeded")
        case Raised(error):
            found = request_ids(error)
            sitting.request_ids.extend(found)
            span.set_attribute("ucmesh.outcome", "error")
            span.set_attribute("ucmesh.error_id", error.fqid)
            if found:
                span.set_attribute("microsoft.request_ids", list(found))
            span.set_status(Status(StatusCode.ERROR, error.message[:200]))
        case Lost(reason):
            span.set_attribute("ucmesh.outcome", "lost")
            span.set_status(Status(StatusCode.ERROR, f"session ended: {reason}"))


def _error(answer: Answer) -> dict[str, Any] | None:
    match answer:
        case Raised(error):
            shown = {name: getattr(error, name) for name in ("message", "fqid", "type", "category", "details", "http")}
            return {name: value for name, value in shown.items() if value not in {"", None}}
        case Lost(reason):
            return {"message": f"the session ended: {reason}"}
    return None
