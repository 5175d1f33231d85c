"""One computation of the plan engine: copies of a plan's rows, the commands they send and the ends they reach.

Owns dispatching (a new attempt, a new operation_id, a time at which silence is too long) and what "changed" means for
the writer. It decides nothing: `plan_core` goes forward with it and `plan_undo` backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.domain.plan import OperationState, PlanState, Reason
from orchestrator.domain.plan_status import (
    NO_REPLY,
    Dispatch,
    Json,
    OperationStatus,
    PlanStatus,
    Transition,
    copy_of_operation,
    copy_of_plan,
    dispatch_id,
)
from orchestrator.domain.verification import resolve

NUDGES_MAX = 96
NUDGE_SECONDS, NUDGE_SECONDS_MAX = 30.0, 960.0
"""An answer is asked for at growing intervals for a day, as long as a licence may take: with the limits of one tenant a
bulk of 10,000 waits for an hour in its adapter's queue, and that is no failure.
"""
REPLY_GRACE_SECONDS = 10.0
OUTAGE_SECONDS = 1_800.0
"""A command that could not be begun for so long, because the broker or its adapter was down, is still wanted."""
REQUEST_IDS_MAX = 20


class Step:
    """Copies of one plan and its operations, in dependency order, round by round."""

    def __init__(
        self, plan: PlanStatus, operations: Iterable[OperationStatus], now: datetime, lags: Mapping[str, float]
    ) -> None:
        self.plan = copy_of_plan(plan)
        self.before = plan
        self.now = now
        self.lags = lags
        self.rows = sorted(operations, key=_order)
        self.touched: dict[UUID, OperationStatus] = {}
        self.commands: list[Dispatch] = []
        self.measured: list[tuple[str, float]] = []
        self.observed: Json | None = None
        self.ended = False

    def touch(self, row: OperationStatus) -> OperationStatus:
        """The copy of `row` that may be changed in this step."""
        copy = self.touched.get(row.id)
        if copy is None:
            copy = self.touched[row.id] = copy_of_operation(row)
            index = next(index for index, each in enumerate(self.rows) if each is row)
            self.rows[index] = copy
        return copy

    def add(self, row: OperationStatus) -> None:
        """Take a new row into the plan."""
        copy = copy_of_operation(row)
        self.rows.append(copy)
        self.touched[copy.id] = copy

    def current(self) -> list[OperationStatus]:
        """The operations of the present round in dependency order."""
        return [row for row in self.rows if row.round == self.plan.round]

    def outputs(self, row: OperationStatus) -> dict[str, Any]:
        """Outputs of the succeeded operations that `row` depends on, by key; it refers to no others (PlanBuilder)."""
        wanted = row.depends_on
        if not wanted:
            return {}
        return {
            each.key: each.output_data
            for each in self.rows
            if each.key in wanted and each.round == row.round and each.state is OperationState.SUCCEEDED
        }

    def dispatch(self, row: OperationStatus, *, undo: bool = False) -> None:
        """Send a new attempt of `row` (a touched one). Raises UnresolvedReferenceError before anything is changed."""
        command = self._command(row, undo=undo)
        row.attempt += 1
        if undo and not row.undo_from:
            row.undo_from = row.attempt
        row.operation_id = dispatch_id(row.id, row.attempt)
        row.state = OperationState.COMPENSATING if undo else OperationState.DISPATCHED
        row.nudges = 0
        self._send(row, *command)

    def ask_again(self, row: OperationStatus) -> None:
        """Send the present attempt once more: who already did it answers with the stored reply."""
        undo = row.undo_from > 0
        command = self._command(row, undo=undo)
        row.state = OperationState.COMPENSATING if undo else OperationState.DISPATCHED
        row.nudges += 1
        self._send(row, *command)

    def _command(self, row: OperationStatus, *, undo: bool) -> tuple[str, int, Json]:
        if not undo:
            return row.spec.name, row.spec.version, resolve(row.spec.params, self.outputs(row))
        reverse = row.undo_data
        assert reverse is not None, "only what has an undo is undone"
        return str(reverse["operation"]), int(reverse.get("version", 1)), reverse.get("params") or {}

    def _send(self, row: OperationStatus, name: str, version: int, params: Json) -> None:
        assert row.operation_id is not None
        spec = row.spec
        first = spec.timeout_seconds + REPLY_GRACE_SECONDS
        growing = NUDGE_SECONDS * 2.0 ** min(row.nudges - 1, 5)
        silence_seconds = min(growing, NUDGE_SECONDS_MAX) if row.nudges else first
        row.in_flight = True
        row.finished_at = None
        row.due_at = self.now + timedelta(seconds=silence_seconds)
        deadline = self.now + timedelta(seconds=spec.timeout_seconds + OUTAGE_SECONDS)
        self.commands.append(
            Dispatch(row.operation_id, row.id, spec.target, name, version, params, spec.subject, deadline)
        )

    def pause(self, row: OperationStatus, seconds: float, error: Json | None) -> None:
        """Nothing is out; the next attempt is due in `seconds`. An undo under way stays one."""
        if row.state is not OperationState.COMPENSATING:
            row.state = OperationState.WAITING
        row.in_flight = False
        row.error = error
        row.due_at = self.now + timedelta(seconds=seconds)

    def rest(self, row: OperationStatus, state: OperationState, error: Json | None = None) -> None:
        """The operation is over: nothing is due and nothing is expected any more."""
        row.state = state
        row.in_flight = False
        row.due_at = None
        row.finished_at = self.now
        row.error = error

    def end(self, state: PlanState, reason: Reason | None) -> None:
        """The plan is over, for now; ending the same way twice is not a second end."""
        if self.plan.state is state and self.plan.reason == reason:
            return
        self.ended = True
        self.plan.state = state
        self.plan.reason = reason
        self.plan.finished_at = self.now

    def transition(self) -> Transition:
        """What this step brought about."""
        return Transition(
            plan=self.plan,
            plan_changed=self.plan != self.before,
            operations=tuple(self.touched.values()),
            commands=tuple(self.commands),
            lags=tuple(self.measured),
            observed=self.observed,
            ended=self.ended,
        )


def is_unknown(row: OperationStatus) -> bool:
    """True when the operation was given up in silence and may have changed something."""
    if row.state is not OperationState.FAILED:
        return False
    error = row.error_data
    return error is not None and error.get("code") == NO_REPLY and not row.reads_only


def reason_of(row: OperationStatus) -> Reason:
    """The operation's error as the plan's reason."""
    error = row.error_data or {}
    remedy = error.get("remedy")
    message = f"{row.spec.title or row.spec.name}: {error.get('message', '')}"
    return Reason(str(error.get("code", "failed")), message, None if remedy is None else str(remedy))


def _order(row: OperationStatus) -> tuple[int, int]:
    return row.round, row.position
