"""What became of a visit: operations with their replies, operations on their way back to the queue, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pwsh_gateway.application.sitting import Sitting
from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import Rule, RuleSet
from pwsh_gateway.domain.operations import ACTIVE, Operation, Reply, Verdict, failed
from pwsh_gateway.domain.ports import Finished, NoSession, Requeued
from pwsh_gateway.domain.procedure import Again, Conclusion, Done, conclude, lost
from pwsh_gateway.domain.retry import decide
from pwsh_gateway.domain.sessions import Execution
from pwsh_gateway.domain.visits import Visit

CREDENTIAL_POLL_SECONDS = 5
INTERRUPTED_SECONDS = 1


@dataclass(slots=True)
class VisitReport:
    """`pause_seconds` asks to leave the stream alone for a while."""

    visit: Visit
    finished: list[Finished] = field(default_factory=list)
    requeued: list[Requeued] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    pause_seconds: float = 0


def interrupted(visit: Visit, now: datetime, wait_seconds: float) -> VisitReport:
    """A visit that ended in a way nobody foresaw: everything goes back and is read back before it is done again."""
    not_before = now + timedelta(seconds=wait_seconds)
    requeued = [Requeued(operation, not_before, None, True, attempted=True) for operation in visit.operations]
    return VisitReport(visit, requeued=requeued)


def finished(
    operation: Operation,
    verdict: Verdict,
    now: datetime,
    *,
    written: Mapping[str, Any] | None = None,
    request_ids: Sequence[str] = (),
) -> Finished:
    """An operation with the reply that carries the verdict."""
    reply = Reply(
        operation_id=operation.operation_id,
        plan_id=operation.plan_id,
        operation=operation.operation,
        version=operation.version,
        tenant_id=operation.stream.tenant_id,
        reply_to=operation.reply_to,
        verdict=verdict,
        attempts=operation.attempts,
        started_at=operation.started_at,
        finished_at=now,
        request_ids=tuple(dict.fromkeys(request_ids)),
        traceparent=operation.traceparent,
    )
    return Finished(operation, reply, written or {})


def settle(sitting: Sitting, report: VisitReport, config: GatewayConfig, now: datetime) -> None:
    """Puts one operation into the report."""
    operation = sitting.operation
    match sitting.conclusion:
        case Done(verdict, written):
            done = finished(operation, verdict, now, written=written, request_ids=sitting.request_ids)
            report.finished.append(done)
        case Again() as again:
            _settle_again(sitting, again, report, config, now)
        case None:
            keep = operation.intent is not None or sitting.written
            wait = timedelta(seconds=INTERRUPTED_SECONDS if sitting.interrupted else 0)
            not_before = sitting.not_before or now + wait
            attempted = sitting.written or sitting.interrupted
            report.requeued.append(Requeued(operation, not_before, None, keep, attempted))


def without_session(
    refusal: NoSession,
    sittings: Sequence[Sitting],
    report: VisitReport,
    *,
    rules: RuleSet,
    config: GatewayConfig,
    now: datetime,
) -> None:
    """What it means for the operations that no session came about."""
    if refusal.reason == "no credential":
        _await_credential(sittings, config, now)
        return
    if refusal.reason == "closing":
        return
    stream = report.visit.stream
    conclusion: Conclusion = lost(refusal.reason, ambiguous=False)
    if refusal.error is not None:
        rule = rules.rule_for(refusal.error, stream.module)
        conclusion = conclude(refusal.error, rule, writes=False)
        # A canary answers for itself; the tenant's own log-in is not tried again at once.
        if stream.credential == ACTIVE:
            report.pause_seconds = _pause_seconds(rule, refusal.error.retry_after_seconds, config)
    for sitting in sittings:
        sitting.conclusion = conclusion


def _await_credential(sittings: Sequence[Sitting], config: GatewayConfig, now: datetime) -> None:
    for sitting in sittings:
        operation = sitting.operation
        patience = timedelta(seconds=config.credential_wait_seconds_max)
        latest = min(operation.received_at + patience, operation.deadline)
        if now < latest:
            sitting.not_before = min(latest, now + timedelta(seconds=CREDENTIAL_POLL_SECONDS))
            continue
        verdict = failed(
            "credential",
            "the gateway has no such credential of this tenant",
            retryable=True,
            remedy="Have cert-manager deliver and activate a certificate for the tenant.",
        )
        sitting.conclusion = Done(verdict)


def _settle_again(sitting: Sitting, again: Again, report: VisitReport, config: GatewayConfig, now: datetime) -> None:
    operation = sitting.operation
    if again.rule.error_class == "throttle":
        report.pause_seconds = max(report.pause_seconds, _pause_seconds(again.rule, again.wait_seconds, config))
    intent = operation.intent or (sitting.intent if sitting.written else None)
    decision = decide(operation, again, intent=intent, entry=sitting.entry, now=now, policy=config.retry_policy())
    if isinstance(decision, Verdict):
        report.finished.append(finished(operation, decision, now, request_ids=sitting.request_ids))
        return
    report.requeued.append(
        Requeued(operation, decision.not_before, decision.problem, decision.keep_intent, attempted=True)
    )


def _pause_seconds(rule: Rule, wait_seconds: float | None, config: GatewayConfig) -> float:
    if rule.error_class == "auth":
        return config.credential_pause_seconds
    return (wait_seconds or config.retry_first_seconds) if rule.error_class == "throttle" else 0
