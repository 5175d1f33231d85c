"""Undoing a plan: stop what has not begun, wait for what is out, reverse what changed, last things first.

Owns the order (an operation is undone when everything that depends on it, in its round and in all later rounds, is out
of the way) and the honest end: a failed undo or an unknown outcome leaves the plan held and keeps what it depends on.

        user <- licence <- teams number        undone: number, then licence, then user
          ^---- group                          group at the same time as number; an undo of number that fails
                                               keeps licence and user in place, group is undone all the same
"""

from __future__ import annotations

from orchestrator.domain.plan import PLAN_ENDS, OperationState, PlanState, Reason
from orchestrator.domain.plan_status import OperationStatus
from orchestrator.domain.plan_step import Step, is_unknown, reason_of

UNDO_FAILED = "undo-failed"
OUTCOME_UNKNOWN = "outcome-unknown"

UNDER_WAY = frozenset({OperationState.DISPATCHED, OperationState.COMPENSATING})
UNDOABLE = frozenset({OperationState.SUCCEEDED, OperationState.REFUSED, OperationState.FAILED})
DONE_WITH = PLAN_ENDS - {PlanState.HELD}


def begin_undo(step: Step, cause: Reason) -> None:
    """The plan turns round. The first cause stays, whatever fails afterwards."""
    if step.plan.goal == "provide":
        step.plan.goal = "undo"
        step.plan.cause = cause
        step.plan.state = PlanState.COMPENSATING


def cancel(step: Step, reason: Reason) -> None:
    """Turn round on request. A held plan tries its failed undos again and asks once more for unknown outcomes."""
    if step.plan.state in DONE_WITH:
        return
    forget_failed_undos(step)
    for row in [row for row in step.rows if is_unknown(row)]:
        again = step.touch(row)
        again.nudges = 0
        step.ask_again(again)
    step.plan.goal = "cancel"
    step.plan.cause = reason
    step.plan.reason = None
    step.plan.finished_at = None
    step.plan.state = PlanState.COMPENSATING


def forget_failed_undos(step: Step) -> None:
    """Operations whose undo failed count as done and changed again, so that a later undo starts anew."""
    for row in [row for row in step.rows if row.undo_from and row.state is OperationState.FAILED]:
        again = step.touch(row)
        again.state = OperationState.SUCCEEDED
        again.undo_from = 0
        again.error = None


def go_back(step: Step) -> None:
    """Everything that can be undone now is dispatched; when nothing is under way any more the plan ends."""
    for row in list(step.rows):
        _stop(step, row)
    _undo_what_is_free(step)
    if any(row.state in UNDER_WAY for row in step.rows):
        step.plan.state = PlanState.COMPENSATING
        step.plan.reason = None
        step.plan.finished_at = None
        return
    _end(step)


def _stop(step: Step, row: OperationStatus) -> None:
    if row.state is OperationState.PENDING:
        step.rest(step.touch(row), OperationState.SKIPPED)
    elif row.state is OperationState.WAITING:
        over = OperationState.SKIPPED if row.reads_only or not row.attempt else OperationState.FAILED
        step.rest(step.touch(row), over, row.error_data)
    elif row.state is OperationState.DISPATCHED and row.reads_only:
        step.rest(step.touch(row), OperationState.SKIPPED)


def _undo_what_is_free(step: Step) -> None:
    needed: set[str] = set()
    round_number, later_rounds_clear, round_clear = 0, True, True
    for row in reversed(list(step.rows)):
        if row.round != round_number:
            round_number, needed = row.round, set()
            later_rounds_clear = later_rounds_clear and round_clear
        free = later_rounds_clear and row.key not in needed
        must_undo = _must_undo(row)
        if free and must_undo:
            step.dispatch(step.touch(row), undo=True)
        if not free or must_undo or row.state in UNDER_WAY or _is_stuck(row):
            needed.update(row.depends_on)
            round_clear = False


def _must_undo(row: OperationStatus) -> bool:
    if not row.changed or row.undo_from or row.undo is None or row.state not in UNDOABLE:
        return False
    return row.spec.compensates


def _is_stuck(row: OperationStatus) -> bool:
    return (row.undo_from > 0 and row.state is OperationState.FAILED) or is_unknown(row)


def _end(step: Step) -> None:
    plan = step.plan
    stuck = next((row for row in step.rows if _is_stuck(row)), None)
    if stuck is not None:
        step.end(PlanState.HELD, _stuck_reason(stuck, plan.cause))
    elif plan.goal == "cancel":
        step.end(PlanState.CANCELLED, plan.cause)
    elif _was_only_refused(step):
        step.end(PlanState.REFUSED, plan.cause)
    else:
        step.end(PlanState.COMPENSATED, plan.cause)


def _was_only_refused(step: Step) -> bool:
    """True when a business no came before any change of this round: nothing had to be undone."""
    current = step.current()
    begun = min((row.ready_at for row in current if row.ready_at), default=None)
    for row in step.rows:
        if row.state is OperationState.COMPENSATED and (begun is None or row.finished_at is None):
            return False
        if row.state is OperationState.COMPENSATED and begun and row.finished_at and row.finished_at >= begun:
            return False
    return any(row.state is OperationState.REFUSED and row.failure == "compensate" for row in current)


def _stuck_reason(row: OperationStatus, cause: Reason | None) -> Reason:
    why = f"; being undone because: {cause.message}" if cause else ""
    own = reason_of(row)
    if row.undo_from:
        message = f"could not be undone: {own.message}{why}"
        return Reason(UNDO_FAILED, message, own.remedy or "repair it in the tenant, then cancel or retry the plan")
    return Reason(
        OUTCOME_UNKNOWN,
        f"no answer, it may have been done: {own.message}{why}",
        "look at the tenant; cancel the plan to ask again, or retry it to plan from what is there",
    )
