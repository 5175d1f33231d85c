"""The plan engine's decision: state + events + time -> new state + commands. No IO, no clock, no random numbers.

Owns readiness, retries, polls, read-back after silence, failure policies and ends; undoing is in `plan_undo`.
It never forgets a change that may be in place: an operation whose outcome stays unknown makes an undone plan held.

An operation's life (every dispatch is a new attempt with a new operation_id):

    pending -> dispatched -> succeeded                 a reply to another attempt than the present one is ignored,
       |        ^    |-----> refused | failed          unless it says that an unfinished operation succeeded
       |     waiting <-'  (poll, retry, read again)    silence: the same dispatch is asked for again, up to
       `-----> skipped                                 NUDGES_MAX times
    succeeded, changed -> compensating -> compensated | failed (plan held)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrator.domain.plan import PLAN_ENDS, OperationState, PlanError, PlanState, Reason
from orchestrator.domain.plan_status import (
    NO_REPLY,
    OBSERVE_KEY,
    Cancelled,
    Event,
    OperationStatus,
    Planned,
    PlanningRefused,
    PlanStatus,
    Reply,
    Retried,
    Started,
    TimerFired,
    Transition,
    dispatch_id,
)
from orchestrator.domain.plan_step import NUDGES_MAX, REQUEST_IDS_MAX, Step, is_unknown, reason_of
from orchestrator.domain.plan_undo import begin_undo, cancel, forget_failed_undos, go_back
from orchestrator.domain.retry import first_poll_seconds
from orchestrator.domain.verdict import Again, Done, Over, judge
from orchestrator.domain.verification import UnresolvedReferenceError

REFERENCE_MISSING = "reference-missing"
PLAN_DEFECT = "plan-defect"
NO_LAGS: Mapping[str, float] = {}

UNFINISHED = frozenset({OperationState.PENDING, OperationState.DISPATCHED, OperationState.WAITING})
UNSUCCESSFUL = frozenset({OperationState.REFUSED, OperationState.FAILED})
WITHOUT_SUCCESS = UNSUCCESSFUL | {OperationState.SKIPPED}
TRIED_AGAIN = PLAN_ENDS - {PlanState.SUCCEEDED}


def advance(
    plan: PlanStatus,
    operations: Sequence[OperationStatus],
    events: Sequence[Event],
    now: datetime,
    lags: Mapping[str, float] = NO_LAGS,
) -> Transition:
    """Take the events in their order and decide what follows. The arguments are not changed.

    `lags`: learned seconds of the tenant by gate. A plan with a defect fails its operation instead of raising.
    """
    step = Step(plan, operations, now, lags)
    for event in events:
        _take(step, event)
    _go_on(step)
    _set_due(step, exact=any(isinstance(event, TimerFired) for event in events))
    return step.transition()


def _take(step: Step, event: Event) -> None:
    match event:
        case Reply():
            _take_reply(step, event)
        case TimerFired():
            _take_timer(step)
        case Started():
            step.add(event.observe)
        case Planned():
            _take_planned(step, event)
        case PlanningRefused():
            _refuse(step, event.reason)
        case Cancelled():
            cancel(step, event.reason)
        case Retried():
            _take_retried(step, event)


def _take_planned(step: Step, event: Planned) -> None:
    if step.plan.state is not PlanState.OBSERVING:
        return
    for row in event.operations:
        step.add(row)
    step.plan.effects = event.effects
    step.plan.state = PlanState.RUNNING
    if event.not_before is not None and event.not_before > step.now:
        step.plan.state = PlanState.SCHEDULED
        step.plan.not_before = event.not_before


def _take_retried(step: Step, event: Retried) -> None:
    plan = step.plan
    if plan.state not in TRIED_AGAIN:
        return
    forget_failed_undos(step)
    later = event.not_before is not None and event.not_before > step.now
    plan.round += 1
    plan.goal, plan.cause, plan.reason, plan.finished_at = "provide", None, None, None
    plan.not_before = event.not_before
    plan.state = PlanState.SCHEDULED if later else PlanState.OBSERVING
    step.add(event.observe)


def _refuse(step: Step, reason: Reason) -> None:
    """A no while observing. What an earlier round left in the tenant makes it a held plan, not a refused one."""
    if step.plan.state is PlanState.OBSERVING:
        step.end(PlanState.HELD if any(row.changed for row in step.rows) else PlanState.REFUSED, reason)


def _take_timer(step: Step) -> None:
    plan = step.plan
    if plan.state is PlanState.SCHEDULED and (plan.not_before is None or plan.not_before <= step.now):
        observed = any(row.key != OBSERVE_KEY for row in step.current())
        plan.state = PlanState.RUNNING if observed else PlanState.OBSERVING
    for row in [row for row in step.rows if row.due_at is not None and row.due_at <= step.now]:
        if row.in_flight:
            _take_silence(step, step.touch(row))
        elif row.state is OperationState.COMPENSATING:
            step.dispatch(step.touch(row), undo=True)
        elif plan.goal == "provide":
            _dispatch(step, step.touch(row))


def _take_silence(step: Step, row: OperationStatus) -> None:
    if row.nudges < NUDGES_MAX:
        step.ask_again(row)
        return
    assert row.operation_id is not None
    error = {
        "code": NO_REPLY,
        "message": f"no answer after it was asked for {NUDGES_MAX + 1} times",
        "retryable": row.reads_only and not row.undo_from,
        "remedy": "check that the adapter of this operation is running",
    }
    _apply(step, row, Reply(row.operation_id, row.plan_id, step.plan.tenant_id, row.spec.name, "failed", error=error))


def _take_reply(step: Step, reply: Reply) -> None:
    row = next((row for row in step.rows if row.operation_id == reply.operation_id), None)
    if row is not None and (row.in_flight or is_unknown(row)):
        _apply(step, step.touch(row), reply)
    elif reply.outcome == "succeeded":
        late = next((row for row in step.rows if _was_attempt(row, reply)), None)
        if late is not None and isinstance(_judge(step, late, reply), Done):
            _apply(step, step.touch(late), reply)


def _was_attempt(row: OperationStatus, reply: Reply) -> bool:
    """True when the reply answers an earlier attempt of an operation (or undo) that is still unfinished."""
    if row.state not in (OperationState.DISPATCHED, OperationState.WAITING, OperationState.COMPENSATING):
        return False
    return any(dispatch_id(row.id, n) == reply.operation_id for n in range(row.undo_from or 1, row.attempt + 1))


def _judge(step: Step, row: OperationStatus, reply: Reply) -> Done | Again | Over:
    compared = not row.undo_from and (row.spec.wait is not None or row.spec.expect is not None)
    try:
        return judge(row, reply, step.outputs(row) if compared else {}, step.now)
    except PlanError as defect:
        # One defective plan must end by itself, not take the batch of its neighbours down.
        return Over("failed", {"code": PLAN_DEFECT, "message": str(defect), "retryable": False})


def _apply(step: Step, row: OperationStatus, reply: Reply) -> None:
    row.request_ids = (*row.request_ids, *reply.request_ids)[-REQUEST_IDS_MAX:]
    verdict = _judge(step, row, reply)
    if row.undo_from:
        _apply_undo(step, row, verdict)
        return
    if reply.output:
        row.output = reply.output
    if reply.changed:
        # The first undo leads back to where we began; a later attempt only knows the way to the attempt before it.
        row.undo = row.undo if row.undo is not None else reply.undo
        row.changed = True
    match verdict:
        case Done():
            step.rest(row, OperationState.SUCCEEDED)
            _measure(step, row)
        case Again(seconds, error) if step.plan.goal == "provide":
            step.pause(row, seconds, error)
        case Again(_, error):
            step.rest(row, OperationState.SKIPPED if row.reads_only else OperationState.FAILED, error)
        case Over(outcome, error):
            step.rest(row, OperationState(outcome), error)
            _apply_policy(step, row)


def _apply_undo(step: Step, row: OperationStatus, verdict: Done | Again | Over) -> None:
    match verdict:
        case Done():
            step.rest(row, OperationState.COMPENSATED)
            row.changed = False
        case Again(seconds, error):
            step.pause(row, seconds, error)
        case Over(_, error):
            step.rest(row, OperationState.FAILED, error)


def _measure(step: Step, row: OperationStatus) -> None:
    gate = row.spec.wait.gate if row.spec.wait else ""
    if gate and row.ready_at is not None:
        step.measured.append((gate, max((step.now - row.ready_at).total_seconds(), 0.0)))


def _apply_policy(step: Step, row: OperationStatus) -> None:
    plan = step.plan
    if plan.goal != "provide" or plan.state in PLAN_ENDS or row.round != plan.round:
        return
    if plan.state is PlanState.OBSERVING:
        if row.state is OperationState.REFUSED:
            _refuse(step, reason_of(row))
        else:
            step.end(PlanState.HELD, reason_of(row))
    elif row.failure == "compensate":
        begin_undo(step, reason_of(row))


def _go_on(step: Step) -> None:
    plan = step.plan
    if plan.goal == "provide" and plan.state in (PlanState.OBSERVING, PlanState.RUNNING):
        _go_forward(step)
    if plan.goal != "provide" and (plan.state is PlanState.HELD or plan.state not in PLAN_ENDS):
        # A held plan is looked at again: the late answer to an unknown outcome may let its undo go on.
        go_back(step)


def _go_forward(step: Step) -> None:
    states = {row.key: row for row in step.current()}
    unfinished = False
    for row in step.current():
        if row.state is OperationState.PENDING and step.plan.goal == "provide":
            _start_if_ready(step, row, [states[key] for key in row.depends_on if key in states])
            states[row.key] = step.touched.get(row.id, row)
        unfinished = unfinished or states[row.key].state in UNFINISHED
    if unfinished or step.plan.goal != "provide" or step.plan.state in PLAN_ENDS:
        return
    if step.plan.state is PlanState.OBSERVING:
        step.observed = states[OBSERVE_KEY].output_data
        return
    held = next((row for row in states.values() if row.failure == "hold" and row.state in UNSUCCESSFUL), None)
    if held is not None:
        step.end(PlanState.HELD, reason_of(held))
    else:
        step.end(PlanState.SUCCEEDED, None)


def _start_if_ready(step: Step, row: OperationStatus, needed: list[OperationStatus]) -> None:
    if any(each.state in WITHOUT_SUCCESS and each.failure != "continue" for each in needed):
        step.rest(step.touch(row), OperationState.SKIPPED)
        return
    if any(each.state in UNFINISHED for each in needed):
        return
    copy = step.touch(row)
    copy.ready_at = step.now
    wait = copy.spec.wait
    pause_seconds = first_poll_seconds(wait, step.lags.get(wait.gate)) if wait else 0.0
    if pause_seconds > 0:
        step.pause(copy, pause_seconds, None)
    else:
        _dispatch(step, copy)


def _dispatch(step: Step, row: OperationStatus) -> None:
    try:
        step.dispatch(row)
    except UnresolvedReferenceError as missing:
        error = {"code": REFERENCE_MISSING, "message": str(missing), "retryable": False}
        left_out = {each.key for each in step.current() if each.state in WITHOUT_SUCCESS}
        if left_out.intersection(row.depends_on):
            step.rest(row, OperationState.SKIPPED, error)
        else:
            step.rest(row, OperationState.FAILED, error)
            _apply_policy(step, row)


def _set_due(step: Step, *, exact: bool) -> None:
    plan = step.plan
    if plan.state in PLAN_ENDS:
        plan.due_at = None
        return
    due = [row.due_at for row in step.rows if row.due_at is not None]
    if plan.state is PlanState.SCHEDULED and plan.not_before is not None:
        due.append(plan.not_before)
    earliest = min(due, default=None)
    if exact or earliest is None or plan.due_at is None or earliest < plan.due_at:
        plan.due_at = earliest
