"""A plan in flight: the working copies of its rows, what happens to it, and what a step of it brings about.

Owns the data that `plan_core` computes with. JSON columns stay text until somebody looks at them: of a dozen
operations that are loaded with a plan, a reply usually touches two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal
from uuid import UUID, uuid5

import orjson

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan import FailurePolicy, Lane, Operation, OperationState, PlanState, Reason, Target
from orchestrator.domain.retry import Retry, Wait

OBSERVE_KEY = "observe"
NO_REPLY = "no-reply"

Json = Mapping[str, Any]
Goal = Literal["provide", "undo", "cancel"]


@dataclass(slots=True)
class OperationStatus:
    """One operation row. `attempt` counts dispatches; from number `undo_from` on they are undos (0 = none yet).

    `in_flight`: a command is out and unanswered. `due_at`: next poll or retry, or, in flight, when we ask again.
    `changed`: our change is in place. `nudges`: times the present dispatch was asked for again.
    """

    id: UUID
    plan_id: UUID
    round: int
    position: int
    key: str
    target: Target
    failure: FailurePolicy
    depends_on: tuple[str, ...]
    definition: Operation | str
    state: OperationState = OperationState.PENDING
    attempt: int = 0
    undo_from: int = 0
    nudges: int = 0
    operation_id: UUID | None = None
    in_flight: bool = False
    changed: bool = False
    due_at: datetime | None = None
    ready_at: datetime | None = None
    finished_at: datetime | None = None
    output: Json | str | None = None
    undo: Json | str | None = None
    error: Json | str | None = None
    request_ids: tuple[str, ...] = ()

    @property
    def spec(self) -> Operation:
        """The operation as planned."""
        if isinstance(self.definition, str):
            self.definition = operation_from_json(self.definition)
        return self.definition

    @property
    def output_data(self) -> Json:
        """The output of the last reply; empty before one came."""
        self.output = _loaded(self.output)
        return self.output or {}

    @property
    def undo_data(self) -> Json | None:
        """What exactly reverses the change, None when there is nothing to reverse."""
        self.undo = _loaded(self.undo)
        return self.undo

    @property
    def error_data(self) -> Json | None:
        """Why the operation failed or was refused, or why its undo failed."""
        self.error = _loaded(self.error)
        return self.error

    @property
    def reads_only(self) -> bool:
        """True for operations that change nothing by their nature: its answer may be dropped."""
        return self.key == OBSERVE_KEY or self.spec.wait is not None or self.spec.expect is not None


@dataclass(slots=True)
class PlanStatus:
    """One plan row. `cause` is why the plan is being undone, `reason` why it ended as it did.

    `due_at` is never later than the earliest `due_at` of its operations; it may be earlier, then the timer moves it.
    `round` counts the tries: operations of earlier rounds stay, and what they changed is undone with the rest.
    `effects` is what the planner wants people to see (site, profile, licences, number).
    """

    plan_id: UUID
    person_id: UUID
    customer: str
    tenant_id: str
    employee_id: str
    kind: str
    lane: Lane
    state: PlanState
    created_at: datetime
    round: int = 1
    goal: Goal = "provide"
    not_before: datetime | None = None
    due_at: datetime | None = None
    finished_at: datetime | None = None
    traceparent: str | None = None
    cause: Reason | None = None
    reason: Reason | None = None
    effects: Json | str | None = None

    @property
    def effects_data(self) -> Json:
        """The effects; empty before the person was planned."""
        self.effects = _loaded(self.effects)
        return self.effects or {}


@lean_dataclass(frozen=True, slots=True)
class Reply:
    """A completed event of an adapter, parsed. `plan_id` None = somebody else's operation."""

    operation_id: UUID
    plan_id: UUID | None
    tenant_id: str
    operation: str
    outcome: Literal["succeeded", "refused", "failed"]
    changed: bool = False
    output: Mapping[str, Any] = field(default_factory=dict)
    undo: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    request_ids: tuple[str, ...] = ()


@lean_dataclass(frozen=True, slots=True)
class Started:
    """A new plan begins with this read."""

    observe: OperationStatus


@lean_dataclass(frozen=True, slots=True)
class Planned:
    """The planner made a plan of what was observed; no operations = nothing to do."""

    operations: tuple[OperationStatus, ...]
    not_before: datetime | None = None
    effects: Json | None = None


@lean_dataclass(frozen=True, slots=True)
class PlanningRefused:
    """The planner said no."""

    reason: Reason


@lean_dataclass(frozen=True, slots=True)
class TimerFired:
    """Something of the plan may be due."""


@lean_dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody wants the plan stopped and what it changed undone."""

    reason: Reason


@lean_dataclass(frozen=True, slots=True)
class Retried:
    """Somebody wants the ended plan tried again, from observing on."""

    observe: OperationStatus
    not_before: datetime | None = None


Event = Reply | Started | Planned | PlanningRefused | TimerFired | Cancelled | Retried


@lean_dataclass(frozen=True, slots=True)
class Dispatch:
    """A command to send (or, for target "mesh", a question to the rules)."""

    operation_id: UUID
    row_id: UUID
    target: Target
    name: str
    version: int
    params: Json
    subject: str
    deadline: datetime


@lean_dataclass(frozen=True, slots=True)
class Transition:
    """What a step brought about. `operations` are the changed ones only; `plan` is always the present one.

    `observed` not None: the planner must be asked and its answer given back as Planned or PlanningRefused.
    `ended`: the plan reached an end (or another one) in this step. `lags`: measured (gate, seconds).
    """

    plan: PlanStatus
    plan_changed: bool
    operations: tuple[OperationStatus, ...]
    commands: tuple[Dispatch, ...] = ()
    lags: tuple[tuple[str, float], ...] = ()
    observed: Json | None = None
    ended: bool = False


def dispatch_id(row_id: UUID, attempt: int) -> UUID:
    """The operation_id of a dispatch: the same row and attempt always give the same id."""
    return uuid5(row_id, str(attempt))


def operation_to_json(operation: Operation) -> str:
    """The operation as stored; fields at their default are left out."""
    document: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(operation, name)
        if value != default:
            document[name] = value
    return orjson.dumps(document).decode()


def operation_from_json(text: str) -> Operation:
    """The inverse of `operation_to_json`; unknown fields of a newer release are ignored."""
    document: dict[str, Any] = {key: value for key, value in orjson.loads(text).items() if key in _DEFAULTS}
    if "retry" in document:
        document["retry"] = Retry(**document["retry"])
    if "wait" in document:
        document["wait"] = Wait(**document["wait"])
    document["depends_on"] = tuple(document.get("depends_on", ()))
    return Operation(**document)


_DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(Operation)}


def copy_of_plan(plan: PlanStatus) -> PlanStatus:
    """A copy that may be changed."""
    return _new_plan(*_plan_fields(plan))


def copy_of_operation(row: OperationStatus) -> OperationStatus:
    """A copy that may be changed."""
    return _new_operation(*_operation_fields(row))


# Copying is the engine's most frequent act; by position it costs a quarter of dataclasses.replace.
_plan_fields = attrgetter(*(each.name for each in fields(PlanStatus)))
_operation_fields = attrgetter(*(each.name for each in fields(OperationStatus)))
_new_plan: Callable[..., PlanStatus] = PlanStatus
_new_operation: Callable[..., OperationStatus] = OperationStatus


def _loaded(value: Json | str | None) -> Json | None:
    if isinstance(value, str):
        loaded: Json = orjson.loads(value)
        return loaded
    return value
