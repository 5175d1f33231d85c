"""What the plan use cases are given, and the one way they carry plans on: decide, plan, ask, settle, write, say.

Owns the order of work inside a transaction. Every statement here works on the whole batch; a plan costs memory only
while its batch is open. It decides nothing (`domain.plan_core` does) and never commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.clock import Clock, IdGenerator
from orchestrator.application.carried_plan import CarriedPlan, Question, notices_of, planned_rows, settled_plan
from orchestrator.application.plan_spans import plan_ended
from orchestrator.domain.plan import Plan, PlanState, Reason
from orchestrator.domain.plan_core import NO_LAGS, advance
from orchestrator.domain.plan_ports import Command, LoadedPlan, PlanMessages, PlanRows
from orchestrator.domain.plan_status import Event, Planned, PlanningRefused, PlanStatus, Reply
from orchestrator.domain.ports import (
    LocalOperations,
    LocalRequest,
    LocalResult,
    Planner,
    PlanningRequest,
    Refusal,
    Settlement,
    UnplannedReplies,
)

STEPS_MAX = 500
NOT_YET = LocalResult("failed", message="not yet")


@dataclass(frozen=True, slots=True)
class PlanEngine:
    """Ports of the plan use cases; built once in main."""

    rows: PlanRows
    messages: PlanMessages
    planner: Planner
    settlement: Settlement
    local: LocalOperations
    unplanned: UnplannedReplies
    clock: Clock
    ids: IdGenerator


async def carry_on(
    engine: PlanEngine, tx: AsyncConnection, loaded: Sequence[LoadedPlan], events: Mapping[UUID, Sequence[Event]]
) -> Mapping[UUID, PlanStatus]:
    """Give the plans their events and do everything that follows from them, in the caller's transaction.

    Returns the plans as they are afterwards.

    Planning and local operations answer within the same transaction, so one call goes from an observed person to
    dispatched commands. Raises whatever the planner raises; nothing is written then.
    """
    now = engine.clock.now()
    batch = {each.plan.plan_id: CarriedPlan(each) for each in loaded}
    lags = await engine.rows.lags(tx, {carried.plan.tenant_id for carried in batch.values()})
    due: Mapping[UUID, Sequence[Event]] = events
    for _ in range(STEPS_MAX):
        asked: list[PlanningRequest] = []
        questions: list[Question] = []
        for plan_id, its in due.items():
            carried = batch[plan_id]
            step = advance(carried.plan, carried.rows(), its, now, lags.get(carried.plan.tenant_id, NO_LAGS))
            asked.extend(carried.take(step))
            questions.extend(carried.questions(step))
        if not asked and not questions:
            break
        due = {**await _plan(engine, tx, batch, asked), **await _ask(engine, tx, questions)}
    else:
        raise RuntimeError(f"plans did not come to rest within {STEPS_MAX} steps")
    await _conclude(engine, tx, list(batch.values()), now)
    return {plan_id: carried.plan for plan_id, carried in batch.items()}


async def _plan(
    engine: PlanEngine, tx: AsyncConnection, batch: Mapping[UUID, CarriedPlan], asked: Sequence[PlanningRequest]
) -> dict[UUID, list[Event]]:
    if not asked:
        return {}
    answers = await engine.planner.build(tx, asked)
    events: dict[UUID, list[Event]] = {}
    for request in asked:
        answer = answers.get(request.plan_id)
        if answer is None:
            raise RuntimeError(f"the planner gave no answer for plan {request.plan_id}")
        events[request.plan_id] = [_planning_event(engine, batch[request.plan_id].plan, answer)]
    return events


def _planning_event(engine: PlanEngine, plan: PlanStatus, answer: Plan | Refusal) -> Event:
    if isinstance(answer, Refusal):
        return PlanningRefused(answer)
    if answer.tenant_id != plan.tenant_id:
        # What was observed there says nothing about the other tenant, and no undo may ever cross tenants.
        return PlanningRefused(
            Reason("tenant-changed", f"the person now belongs to tenant {answer.tenant_id}", "Retry the plan.")
        )
    return Planned(planned_rows(plan, answer, engine.ids), answer.not_before, answer.effects)


async def _ask(engine: PlanEngine, tx: AsyncConnection, questions: Sequence[Question]) -> dict[UUID, list[Event]]:
    if not questions:
        return {}
    requests = [LocalRequest(q.operation_id, q.plan_id, q.name, q.params) for q in questions]
    results = await engine.local.resolve(tx, requests)
    events: dict[UUID, list[Event]] = {}
    for question in questions:
        result = results.get(question.operation_id, NOT_YET)
        error = {
            "code": result.code,
            "message": result.message or result.code,
            "retryable": result.outcome == "failed",
            "remedy": result.remedy,
        }
        reply = Reply(
            question.operation_id,
            question.plan_id,
            question.tenant_id,
            question.name,
            result.outcome,
            output=result.output,
            error=None if result.outcome == "succeeded" else error,
        )
        events.setdefault(question.plan_id, []).append(reply)
    return events


async def _conclude(engine: PlanEngine, tx: AsyncConnection, batch: Sequence[CarriedPlan], now: datetime) -> None:
    ended = [carried for carried in batch if carried.ended]
    if ended:
        await engine.settlement.settle(tx, [settled_plan(carried) for carried in ended])
    await engine.rows.save(tx, [carried.saved() for carried in batch])
    commands = [Command(carried.plan, command) for carried in batch for command in carried.commands]
    await engine.messages.append(tx, commands, [notice for carried in batch for notice in notices_of(carried)])
    measured = _means([(carried.plan.tenant_id, gate, s) for carried in batch for gate, s in carried.lags])
    if measured:
        await engine.rows.learn(tx, measured, now)
    arrived = {f"{c.plan.customer}:{c.plan.employee_id}" for c in ended if c.plan.state is PlanState.SUCCEEDED}
    if arrived:
        await engine.rows.wake(tx, arrived, now)
    for carried in ended:
        plan_ended(carried.plan)


def _means(measured: Sequence[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    """One sample per tenant and gate and batch: a batch of a thousand joiners must not outweigh what was learned."""
    collected: dict[tuple[str, str], list[float]] = {}
    for tenant_id, gate, seconds in measured:
        collected.setdefault((tenant_id, gate), []).append(seconds)
    return {key: sum(values) / len(values) for key, values in sorted(collected.items())}
