"""For all plans, tenants, orders, duplicates and crashes: every plan ends, and the tenant holds what it says."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.plan import Operation, PlanState, Retry, Wait
from support.plan_script import Behaviour, Script, Tenant, op, run_to_end

KEYS = "abcdefg"
UNDONE = {PlanState.COMPENSATED, PlanState.REFUSED, PlanState.CANCELLED}


@dataclass(frozen=True)
class Case:
    operations: tuple[Operation, ...]
    behaviours: dict[str, Behaviour]


@st.composite
def cases(
    draw: st.DrawFn, *, outcomes: tuple[str, ...] = ("succeeded", "refused", "failed"), silence: bool = True
) -> Case:
    keys = KEYS[: draw(st.integers(1, len(KEYS)))]
    operations, behaviours = [], {}
    for index, key in enumerate(keys):
        needed = draw(st.sets(st.sampled_from(keys[:index]), max_size=3)) if index else set()
        kind = draw(st.sampled_from(["plain", "plain", "plain", "wait", "proof"]))
        operation = op(
            key,
            sorted(needed),
            failure=draw(st.sampled_from(["compensate", "compensate", "hold", "continue"])),
            retry=Retry(attempts_max=3, first_seconds=1),
            timeout_seconds=10,
        )
        if kind == "wait":
            operation = replace(operation, wait=Wait(first_seconds=1, deadline_seconds=30))
        elif kind == "proof":
            operation = replace(operation, expect={"id": key})
        operations.append(operation)
        behaviours[key] = Behaviour(
            outcome=draw(st.sampled_from(outcomes)),
            failures=draw(st.integers(0, 4 if "failed" in outcomes else 2)),
            changes=kind == "plain" and draw(st.booleans()),
            undo_failures=draw(st.integers(0, 4)),
            undo_outcome=draw(st.sampled_from(["succeeded", "succeeded", "succeeded", "refused"])),
            silent=silence and draw(st.integers(0, 9)) == 0,
        )
    return Case(tuple(operations), behaviours)


def chooser(seed: int):
    return random.Random(seed).randrange


def run(case: Case, choose, *, disorder: bool) -> tuple[Script, Tenant]:
    script, tenant = Script(*case.operations), Tenant(case.behaviours)
    run_to_end(script, tenant, choose, disorder=disorder)
    return script, tenant


def check_end(script: Script, tenant: Tenant) -> None:
    """What must hold at every end."""
    plan = script.plan
    assert plan.due_at is None
    assert not [row for row in script.rows.values() if row.in_flight or row.due_at]
    assert script.in_place() == tenant.changed, "what the plan says is in place is what is in the tenant"
    assert len(tenant.undone) == len(set(tenant.undone)), "nothing is undone twice"
    assert set(tenant.undone) <= set(tenant.done), "nothing is undone that was not done"
    if plan.state in UNDONE:
        assert tenant.changed == set()
    if plan.state is PlanState.REFUSED:
        assert tenant.done == []
    if plan.state is PlanState.SUCCEEDED:
        assert tenant.undone == []
    if plan.state is not PlanState.SUCCEEDED:
        assert plan.reason is not None
        assert plan.reason.message


def check_order(script: Script, tenant: Tenant) -> None:
    """An operation is undone after everything that (transitively) depended on it."""
    needs = {row.key: set(row.depends_on) for row in script.rows.values()}
    for key in script.planned:
        for other in list(needs[key.key]):
            needs[key.key] |= needs[other]
    for later, key in enumerate(tenant.undone):
        assert not [first for first in tenant.undone[:later] if first in needs[key]], f"{key} was undone too late"


@settings(max_examples=300, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32))
def test_every_plan_ends_and_says_what_is_in_the_tenant(case: Case, seed: int):
    script, tenant = run(case, chooser(seed), disorder=True)
    check_end(script, tenant)
    check_order(script, tenant)


@settings(max_examples=200, deadline=None)
@given(case=cases(outcomes=("succeeded",), silence=False), seed=st.integers(0, 2**32))
def test_any_order_duplication_and_crash_give_the_undisturbed_end(case: Case, seed: int):
    plain, plain_tenant = run(case, chooser(seed), disorder=False)
    messy, messy_tenant = run(case, chooser(seed), disorder=True)
    assert plain.plan.state is messy.plan.state is PlanState.SUCCEEDED
    assert plain.states() == messy.states()
    assert plain_tenant.changed == messy_tenant.changed


@settings(max_examples=200, deadline=None)
@given(case=cases(silence=False), seed=st.integers(0, 2**32))
def test_failing_plans_leave_the_same_tenant_in_any_order(case: Case, seed: int):
    # Parallel operations may or may not have begun when a neighbour fails: the way differs, an undone tenant does not.
    undoable = {key: replace(each, undo_failures=0, undo_outcome="succeeded") for key, each in case.behaviours.items()}
    plain, plain_tenant = run(Case(case.operations, undoable), chooser(seed), disorder=False)
    messy, messy_tenant = run(Case(case.operations, undoable), chooser(seed), disorder=True)
    ends = {plain.plan.state, messy.plan.state}
    assert len(ends) == 1 or ends <= UNDONE
    assert plain_tenant.changed == messy_tenant.changed


@settings(max_examples=200, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32), after=st.integers(0, 12))
def test_a_plan_cancelled_at_any_moment_leaves_nothing_or_says_so(case: Case, seed: int, after: int):
    script, tenant = Script(*case.operations), Tenant(case.behaviours)
    choose = chooser(seed)
    mail = [reply for key, command in script.sent.items() if (reply := tenant.answer(key, command))]
    for _ in range(after):
        if not mail:
            break
        script.step(mail.pop(choose(len(mail))))
        mail += [reply for key, command in script.sent.items() if (reply := tenant.answer(key, command))]
    script.cancel()
    sent, script.sent = dict(script.sent), {}
    mail += [reply for key, command in sent.items() if (reply := tenant.answer(key, command))]
    for reply in mail:
        script.step(reply)
        follow = dict(script.sent)
        while follow:
            replies = [found for key, command in follow.items() if (found := tenant.answer(key, command))]
            follow = {}
            for found in replies:
                script.step(found)
                follow |= script.sent
    script.sent = {}
    run_to_end(script, tenant, choose, disorder=False)
    check_end(script, tenant)
    assert script.plan.state in UNDONE | {PlanState.HELD, PlanState.SUCCEEDED}


@settings(max_examples=100, deadline=None)
@given(case=cases(silence=False), seed=st.integers(0, 2**32))
def test_a_step_is_a_function_of_what_it_is_given(case: Case, seed: int):
    first, _ = run(case, chooser(seed), disorder=False)
    second, _ = run(case, lambda _count: 0, disorder=False)
    assert first.log == second.log
    assert {row.operation_id for row in first.rows.values()} == {row.operation_id for row in second.rows.values()}
