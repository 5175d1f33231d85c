"""Scripts for the plan core: given these operations and replies, expect these commands and states.

Owns a readable way to drive `advance` without a database, and a tenant in memory that remembers what was done to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.domain.plan import Operation, OperationState, PlanBuilder, PlanState, Reason
from orchestrator.domain.plan_core import advance
from orchestrator.domain.plan_status import (
    Cancelled,
    Dispatch,
    Event,
    OperationStatus,
    Planned,
    PlanStatus,
    Reply,
    Retried,
    Started,
    TimerFired,
    Transition,
)

START = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
PLAN_ID = UUID(int=1)
TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"


def op(key: str, needs: str | Sequence[str] = (), **fields: Any) -> Operation:
    """An operation named after its key."""
    needed = (needs,) if isinstance(needs, str) else tuple(needs)
    given: dict[str, Any] = {"target": "graph", "name": f"test.{key}", "params": {}, "subject": "zoe", **fields}
    return Operation(key=key, depends_on=needed, title=key, **given)


def new_plan(**fields: Any) -> PlanStatus:
    """A plan that is about to observe."""
    given: dict[str, Any] = {
        "plan_id": PLAN_ID,
        "person_id": UUID(int=2),
        "customer": "northwind",
        "tenant_id": TENANT,
        "employee_id": "NW-1001",
        "kind": "joiner",
        "lane": "normal",
        "state": PlanState.OBSERVING,
        "created_at": START,
        **fields,
    }
    return PlanStatus(**given)


def rows_of(
    operations: Iterable[Operation], round_number: int = 1, first_position: int = 1
) -> tuple[OperationStatus, ...]:
    """Rows of operations, put into dependency order by the builder."""
    builder = PlanBuilder(
        plan_id=PLAN_ID, customer="northwind", tenant_id=TENANT, employee_id="NW-1001", person_id=UUID(int=2)
    )
    for operation in operations:
        builder.add(operation)
    return tuple(
        OperationStatus(
            id=UUID(int=(round_number << 32) + position),
            plan_id=PLAN_ID,
            round=round_number,
            position=position,
            key=operation.key,
            target=operation.target,
            failure=operation.failure,
            depends_on=operation.depends_on,
            definition=operation,
        )
        for position, operation in enumerate(builder.build().operations, first_position)
    )


def observe_row(round_number: int = 1) -> OperationStatus:
    """The read a round begins with."""
    [row] = rows_of([op("observe", name="user.observe")], round_number, 0)
    return row


class Script:
    """A plan being carried on by hand. `sent` are the commands of the last step, by operation key."""

    def __init__(
        self, *operations: Operation, lags: Mapping[str, float] | None = None, observing: bool = False
    ) -> None:
        self.now = START
        self.lags = lags or {}
        self.plan = new_plan()
        self.rows: dict[UUID, OperationStatus] = {}
        self.sent: dict[str, Dispatch] = {}
        self.log: list[str] = []
        self.last: Transition | None = None
        self.planned = operations
        self.step(Started(observe_row()))
        if not observing:
            self.reply("observe", output={"user": None})
            self.step(Planned(rows_of(operations)))

    def step(self, *events: Event) -> Transition:
        """One call of the core, kept."""
        made = advance(self.plan, list(self.rows.values()), events, self.now, self.lags)
        self.plan = made.plan
        self.rows.update({row.id: row for row in made.operations})
        self.sent = {self.rows[command.row_id].key: command for command in made.commands}
        self.log += [command.name for command in made.commands]
        self.last = made
        return made

    def row(self, key: str, round_number: int | None = None) -> OperationStatus:
        wanted = round_number or self.plan.round
        return next(row for row in self.rows.values() if row.key == key and row.round == wanted)

    def reply(self, key: str, outcome: str = "succeeded", **fields: Any) -> Transition:
        """A reply to the present dispatch of `key`. `error` may be a code; `undo` may be an operation name."""
        return self.step(self.make_reply(key, outcome, **fields))

    def make_reply(self, key: str, outcome: str = "succeeded", **fields: Any) -> Reply:
        row = self.row(key)
        if "undo" in fields and isinstance(fields["undo"], str):
            fields["undo"] = {"operation": fields["undo"], "version": 1, "params": {"of": key}}
        if "error" in fields and isinstance(fields["error"], str):
            fields["error"] = {
                "code": fields["error"],
                "message": f"{key} {fields['error']}",
                "retryable": bool(fields.pop("retryable", False)),
            }
        operation_id = fields.pop("operation_id", row.operation_id)
        return Reply(operation_id, PLAN_ID, TENANT, row.spec.name, outcome, **fields)  # type: ignore[arg-type]

    def did(self, *keys: str) -> None:
        """Each operation succeeded and changed something that can be undone."""
        for key in keys:
            self.reply(key, changed=True, undo=f"undo.{key}", output={"id": key})

    def undone(self, *keys: str) -> None:
        """Each undo succeeded."""
        for key in keys:
            assert self.state(key) == "compensating", f"{key} is {self.state(key)}"
            self.reply(key, changed=True)

    def tick(self, seconds: float) -> Transition:
        """Time passes and the timer fires."""
        self.now += timedelta(seconds=seconds)
        return self.step(TimerFired())

    def tick_due(self) -> Transition:
        """Time passes until the plan is due."""
        assert self.plan.due_at is not None, f"nothing is due in a plan that is {self.plan.state}"
        return self.tick(max((self.plan.due_at - self.now).total_seconds(), 0))

    def cancel(self) -> Transition:
        return self.step(Cancelled(Reason("cancelled", "cancelled by test")))

    def retry(self, not_before: datetime | None = None) -> Transition:
        return self.step(Retried(observe_row(self.plan.round + 1), not_before))

    def state(self, key: str) -> str:
        return self.row(key).state.value

    def states(self) -> dict[str, str]:
        return {row.key: row.state.value for row in self.rows.values() if row.key != "observe"}

    def in_place(self) -> set[str]:
        """Operations whose change is in the tenant, as far as the plan knows."""
        return {row.key for row in self.rows.values() if row.changed}


@dataclass(slots=True)
class Behaviour:
    """What the tenant answers to an operation: `failures` retryable failures first, then `outcome`; then the undo."""

    outcome: str = "succeeded"
    failures: int = 0
    changes: bool = True
    undo_failures: int = 0
    undo_outcome: str = "succeeded"
    silent: bool = False


@dataclass(slots=True)
class Tenant:
    """Answers commands once per operation_id and the same way for ever, as an adapter with a ledger does."""

    behaviours: Mapping[str, Behaviour]
    changed: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    ledger: dict[UUID, Reply] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)

    def answer(self, key: str, command: Dispatch) -> Reply | None:
        """The reply to a command of operation `key`; None = silence."""
        stored = self.ledger.get(command.operation_id)
        if stored is not None:
            return stored
        behaviour = self.behaviours.get(key, Behaviour(changes=False))
        if behaviour.silent:
            return None
        undo = command.name.startswith("undo.")
        tries = self.tries[command.name] = self.tries.get(command.name, 0) + 1
        failures = behaviour.undo_failures if undo else behaviour.failures
        outcome = behaviour.undo_outcome if undo else behaviour.outcome
        made = Reply(
            command.operation_id, PLAN_ID, TENANT, command.name, "failed", error=_error("busy", retryable=True)
        )
        if tries > failures:
            made = self._act(key, command, outcome, undo=undo, changes=behaviour.changes)
        self.ledger[command.operation_id] = made
        return made

    def _act(self, key: str, command: Dispatch, outcome: str, *, undo: bool, changes: bool) -> Reply:
        base = Reply(command.operation_id, PLAN_ID, TENANT, command.name, "succeeded", output={"id": key})
        if outcome != "succeeded":
            return replace(base, outcome=outcome, output={}, error=_error("no", retryable=False))  # type: ignore[arg-type]
        if undo:
            self.changed.discard(key)
            self.undone.append(key)
            return replace(base, changed=True)
        if not changes or key in self.changed:
            return base
        self.changed.add(key)
        self.done.append(key)
        return replace(base, changed=True, undo={"operation": f"undo.{key}", "version": 1, "params": {}})


def _error(code: str, *, retryable: bool) -> dict[str, Any]:
    return {"code": code, "message": code, "retryable": retryable}


Choose = Callable[[int], int]
"""Picks one of n possibilities (0..n-1)."""


def run_to_end(script: Script, tenant: Tenant, choose: Choose, *, disorder: bool, steps_max: int = 4000) -> None:
    """Deliver the tenant's replies until the plan ends, in an order `choose` makes, twice or late as it likes.

    A crash is a step whose result is thrown away: its events come again, as they do when a transaction is rolled back.
    """
    mail: list[Reply] = []
    seen: list[Reply] = []

    def post(commands: Mapping[str, Dispatch]) -> None:
        for key, command in commands.items():
            reply = tenant.answer(key, command)
            if reply is not None:
                mail.append(reply)

    post(script.sent)
    for _ in range(steps_max):
        if script.plan.state in ENDS and not mail:
            return
        if not mail:
            script.tick_due()
            post(script.sent)
            continue
        batch = [mail.pop(choose(len(mail)) if disorder else 0)]
        if disorder and seen and choose(4) == 1:
            batch.append(seen[choose(len(seen))])
        if disorder and choose(5) == 1:
            mail.insert(choose(len(mail) + 1), batch[0])
        if disorder and choose(6) == 1:
            advance(script.plan, list(script.rows.values()), batch, script.now)
        seen.extend(batch)
        script.step(*batch)
        post(script.sent)
    raise AssertionError(f"the plan did not end: {script.plan.state} {script.states()}")


ENDS = frozenset({PlanState.SUCCEEDED, PlanState.REFUSED, PlanState.COMPENSATED, PlanState.HELD, PlanState.CANCELLED})
UNFINISHED = frozenset({OperationState.PENDING, OperationState.DISPATCHED, OperationState.WAITING})


JOINER_CHANGES = {key: Behaviour() for key in ("user", "licence", "group", "number")}
"""What each operation of a joiner changes, all of them succeeding."""
