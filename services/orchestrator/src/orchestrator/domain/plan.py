"""Plans as values: operations, their order, what a failure means. Written by the planner, carried out by `plan_core`.

Owns the vocabulary (states, operation, plan) and the builder that refuses a plan which could not be carried out:
unknown or circular dependencies, two operations of one key, references to something that is not there.
It knows nothing about rows, messages, tenants' rules or Microsoft.

    plan      observing -> running -> succeeded
    states    scheduled -+    |----> compensating -> compensated | refused | cancelled
                              `----> held             `--> held (an undo failed, or an outcome is unknown)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.retry import Retry, Wait

OPERATIONS_MAX = 200
TIMEOUT_SECONDS_DEFAULT = 120
RETRY_DEFAULT = Retry()

Target = Literal["graph", "pwsh", "mesh"]
FailurePolicy = Literal["compensate", "hold", "continue"]
Lane = Literal["normal", "urgent", "bulk"]


class PlanState(StrEnum):
    """Where a plan is. The last five are ends; refused, compensated, held and cancelled plans can be tried again."""

    OBSERVING = "observing"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPENSATING = "compensating"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    COMPENSATED = "compensated"
    HELD = "held"
    CANCELLED = "cancelled"


class OperationState(StrEnum):
    """Where an operation is: `waiting` = until its next poll or retry, `compensating` = its undo is under way."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"


PLAN_ENDS = frozenset(
    {PlanState.SUCCEEDED, PlanState.REFUSED, PlanState.COMPENSATED, PlanState.HELD, PlanState.CANCELLED}
)


@lean_dataclass(frozen=True, slots=True)
class Reason:
    """Why a plan is refused, compensated, held or cancelled; `remedy` says what the admin can do about it."""

    code: str
    message: str
    remedy: str | None = None


@lean_dataclass(frozen=True, slots=True)
class Operation:
    """One step of a plan: what to do (never how), in which order, and what a failure means.

    `params` and `expect` may hold references `ref(key, path)` to another operation's output.
    `subject` is the ordering key of the command ("<upn or object id>"); for the local operation
    `person.await-provisioned` it is "<customer>:<employee_id>" of the awaited person, by which a settled plan wakes it.
    `failure`: `compensate` undoes the plan; `hold` skips what depends on it, finishes the rest and ends held;
    `continue` goes on without it. `wait` makes it a gate, `expect` a proof by read-back (dotted path -> value).
    `compensates=False` leaves its change in place when the plan is undone.
    `title`, `before`, `after` and `permission` are for people.
    """

    key: str
    target: Target
    name: str
    params: Mapping[str, Any]
    subject: str
    title: str = ""
    version: int = 1
    depends_on: tuple[str, ...] = ()
    failure: FailurePolicy = "compensate"
    retry: Retry = RETRY_DEFAULT
    wait: Wait | None = None
    expect: Mapping[str, Any] | None = None
    timeout_seconds: int = TIMEOUT_SECONDS_DEFAULT
    compensates: bool = True
    permission: str | None = None
    before: str | None = None
    after: str | None = None


@lean_dataclass(frozen=True, slots=True)
class Plan:
    """A finished plan: operations in an order in which every dependency comes before what needs it."""

    plan_id: UUID
    customer: str
    tenant_id: str
    employee_id: str
    person_id: UUID
    kind: str
    lane: Lane
    operations: tuple[Operation, ...]
    not_before: datetime | None = None
    effects: Mapping[str, Any] = field(default_factory=dict)


class PlanError(ValueError):
    """The planner wrote a plan that cannot be carried out: a bug in the rules, not bad input."""


def ref(key: str, path: str) -> dict[str, str]:
    """A reference to `path` in the output of operation `key`; resolved when the referring operation is dispatched."""
    return {"$from": key, "path": path}


class PlanBuilder:
    """Collects operations in any order of thought and builds the plan in an order of execution.

    `effects` of the plan (licences, numbers, site, profile ...) are free text and numbers for the preview.
    """

    def __init__(
        self,
        *,
        plan_id: UUID,
        customer: str,
        tenant_id: str,
        employee_id: str,
        person_id: UUID,
        kind: str = "joiner",
        lane: Lane = "normal",
    ) -> None:
        self._head = Plan(plan_id, customer, tenant_id, employee_id, person_id, kind, lane, ())
        self._operations: dict[str, Operation] = {}

    def add(self, operation: Operation, after: str | Sequence[str] | None = None) -> str:
        """Add `operation` after its `depends_on`, after `after` and after all it refers to; returns its key.

        Raises PlanError for a second operation of the same key.
        """
        if operation.key in self._operations:
            raise PlanError(f"two operations have the key {operation.key!r}")
        named = () if after is None else (after,) if isinstance(after, str) else tuple(after)
        needed = dict.fromkeys((*operation.depends_on, *named, *references(operation)))
        self._operations[operation.key] = replace(operation, depends_on=tuple(needed))
        return operation.key

    def add_all(self, operations: Iterable[Operation], after: str | Sequence[str] | None = None) -> tuple[str, ...]:
        """Add several operations with the same predecessors; returns their keys."""
        return tuple(self.add(operation, after) for operation in operations)

    def build(self, *, not_before: datetime | None = None, effects: Mapping[str, Any] | None = None) -> Plan:
        """The plan; no operation = nothing to do. Raises PlanError: unknown dependency, circle, over 200 operations."""
        if len(self._operations) > OPERATIONS_MAX:
            raise PlanError(f"{len(self._operations)} operations, at most {OPERATIONS_MAX} are allowed")
        ordered = tuple(in_dependency_order(self._operations))
        return replace(self._head, operations=ordered, not_before=not_before, effects=dict(effects or {}))


def references(operation: Operation) -> list[str]:
    """Keys of the operations whose output `params`, `expect` or the wait's `ready` refer to, each once."""
    found: dict[str, None] = {}
    todo: list[Any] = [operation.params, operation.expect, operation.wait.ready if operation.wait else None]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if "$from" in value:
                found[str(value["$from"])] = None
            else:
                todo.extend(value.values())
        elif isinstance(value, (list, tuple)):
            todo.extend(value)
    return list(found)


def in_dependency_order(operations: Mapping[str, Operation]) -> list[Operation]:
    """Operations with every dependency before its dependents, otherwise in the given order.

    Raises PlanError when a dependency is unknown or a circle leaves no next operation.
    """
    for operation in operations.values():
        unknown = [key for key in operation.depends_on if key not in operations]
        if unknown:
            raise PlanError(f"{operation.key!r} depends on {', '.join(unknown)}, which the plan does not have")
    ordered: dict[str, Operation] = {}
    left = list(operations.values())
    while left:
        free = [operation for operation in left if all(key in ordered for key in operation.depends_on)]
        if not free:
            raise PlanError(f"circular dependencies among {', '.join(sorted(operation.key for operation in left))}")
        ordered.update((operation.key, operation) for operation in free)
        left = [operation for operation in left if operation.key not in ordered]
    return list(ordered.values())
