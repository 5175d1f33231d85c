"""One plan in an open batch: its present rows, and what of them has to be written and said at the end.

Owns the bookkeeping between several steps of the same plan in one transaction, and the words in which an ended plan
is told to the rules and to the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from mesh_runtime.clock import IdGenerator
from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan import PLAN_ENDS, Operation, OperationState, Plan, PlanState
from orchestrator.domain.plan_core import UNSUCCESSFUL
from orchestrator.domain.plan_ports import LoadedPlan, Notice, NoticeAction, SavedPlan
from orchestrator.domain.plan_status import (
    OBSERVE_KEY,
    Dispatch,
    Json,
    OperationStatus,
    PlanStatus,
    Transition,
)
from orchestrator.domain.ports import PlanningRequest, SettledOperation, SettledPlan

END_ACTIONS: dict[PlanState, NoticeAction] = {
    PlanState.SUCCEEDED: "succeeded",
    PlanState.REFUSED: "refused",
    PlanState.COMPENSATED: "compensated",
    PlanState.HELD: "held",
    PlanState.CANCELLED: "cancelled",
}


@lean_dataclass(frozen=True, slots=True)
class Question:
    """A local operation to be answered by the rules in this transaction."""

    operation_id: UUID
    plan_id: UUID
    tenant_id: str
    name: str
    params: Json


class CarriedPlan:
    """A plan and its operations as they are after the steps taken so far."""

    def __init__(self, loaded: LoadedPlan) -> None:
        self.plan: PlanStatus = loaded.plan
        self.new = loaded.new
        self.plan_changed = False
        self.ended = False
        self.commands: list[Dispatch] = []
        self.lags: list[tuple[str, float]] = []
        self._operations = {row.id: row for row in loaded.operations}
        self._stored = frozenset(self._operations)
        self._touched: dict[UUID, OperationStatus] = {}

    def rows(self) -> Sequence[OperationStatus]:
        """All operations of all rounds."""
        return list(self._operations.values())

    def take(self, step: Transition) -> list[PlanningRequest]:
        """Take a step's result over; returns the question to the planner, if there is one."""
        self.plan = step.plan
        self.plan_changed = self.plan_changed or step.plan_changed
        self.ended = (self.ended or step.ended) and step.plan.state in PLAN_ENDS
        self.commands.extend(command for command in step.commands if command.target != "mesh")
        self.lags.extend(step.lags)
        for row in step.operations:
            self._operations[row.id] = self._touched[row.id] = row
        if step.observed is None:
            return []
        return [PlanningRequest(self.plan.plan_id, self.plan.person_id, step.observed, self.plan.lane)]

    def questions(self, step: Transition) -> list[Question]:
        """The local operations this step dispatched."""
        plan = self.plan
        return [
            Question(command.operation_id, plan.plan_id, plan.tenant_id, command.name, command.params)
            for command in step.commands
            if command.target == "mesh"
        ]

    def saved(self) -> SavedPlan:
        """What has to be written."""
        touched = self._touched.values()
        return SavedPlan(
            plan=self.plan,
            new=self.new,
            plan_changed=self.plan_changed,
            operations=self.rows(),
            added=[row for row in touched if row.id not in self._stored],
            changed=[row for row in touched if row.id in self._stored],
        )


def observe_row(plan: PlanStatus, observe: Operation, ids: IdGenerator) -> OperationStatus:
    """The read every round of a plan begins with."""
    if observe.key != OBSERVE_KEY or observe.depends_on:
        observe = replace(observe, key=OBSERVE_KEY, depends_on=())
    return _row(plan, observe, 0, ids)


def planned_rows(plan: PlanStatus, planned: Plan, ids: IdGenerator) -> tuple[OperationStatus, ...]:
    """Rows for the planner's operations, after the observe operation of the present round."""
    return tuple(_row(plan, operation, position, ids) for position, operation in enumerate(planned.operations, 1))


def _row(plan: PlanStatus, operation: Operation, position: int, ids: IdGenerator) -> OperationStatus:
    return OperationStatus(
        id=ids.new(),
        plan_id=plan.plan_id,
        round=plan.round,
        position=position,
        key=operation.key,
        target=operation.target,
        failure=operation.failure,
        depends_on=operation.depends_on,
        definition=operation,
    )


def settled_plan(carried: CarriedPlan) -> SettledPlan:
    """The ended plan in the words of the rules; operations of earlier rounds first, later ones overrule them."""
    plan = carried.plan
    rows = sorted(carried.rows(), key=lambda row: (row.round, row.position))
    observed = [row for row in rows if row.key == OBSERVE_KEY]
    return SettledPlan(
        plan_id=plan.plan_id,
        person_id=plan.person_id,
        customer=plan.customer,
        tenant_id=plan.tenant_id,
        employee_id=plan.employee_id,
        kind=plan.kind,
        state=plan.state,
        reason=plan.reason,
        operations=[
            SettledOperation(row.key, row.state, row.changed, row.output_data, row.error_data)
            for row in rows
            if row.key != OBSERVE_KEY
        ],
        observed=observed[-1].output_data if observed else {},
    )


def notices_of(carried: CarriedPlan) -> list[Notice]:
    """The plan events of a plan that is new or has ended."""
    plan = carried.plan
    actions: list[NoticeAction] = ["created"] if carried.new else []
    if carried.ended:
        actions.append(END_ACTIONS[plan.state])
    if not actions:
        return []
    current = [row for row in carried.rows() if row.round == plan.round]
    succeeded = sum(row.state is OperationState.SUCCEEDED for row in current)
    failed = sum(row.state in UNSUCCESSFUL for row in current)
    return [Notice(plan, action, plan.reason, len(current), succeeded, failed) for action in actions]
