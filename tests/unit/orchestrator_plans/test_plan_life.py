"""Planning, schedules, cancelling and trying again as a script."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.plan import PlanState, Reason, ref
from orchestrator.domain.plan_core import advance
from orchestrator.domain.plan_status import Planned, PlanningRefused, TimerFired
from support.plan_script import START, Script, new_plan, observe_row, op, rows_of

JOINER = (
    op("user"),
    op("licence", "user", params={"user_id": ref("user", "id")}),
    op("group", "user"),
    op("number", "licence", target="pwsh"),
)


def test_the_planners_refusal_ends_the_plan_refused():
    script = Script(observing=True)
    script.reply("observe", output={"user": None})
    script.step(PlanningRefused(Reason("no-seats", "no seats left")))
    assert script.plan.state is PlanState.REFUSED
    assert script.plan.reason.code == "no-seats"


def test_a_refused_observation_refuses_and_a_failed_one_holds():
    refused = Script(observing=True)
    refused.reply("observe", "refused", error="permission-missing")
    assert refused.plan.state is PlanState.REFUSED
    held = Script(observing=True)
    held.reply("observe", "failed", error="credential")
    assert held.plan.state is PlanState.HELD


def test_a_scheduled_plan_observes_when_its_time_has_come():
    later = START + timedelta(days=3)
    row = observe_row()
    waiting = advance(new_plan(state=PlanState.SCHEDULED, not_before=later), [row], [], START)
    assert waiting.commands == ()
    assert waiting.plan.due_at == later
    begun = advance(waiting.plan, [row], [TimerFired()], later)
    assert begun.plan.state is PlanState.OBSERVING
    assert [command.name for command in begun.commands] == ["user.observe"]


def test_a_plan_made_for_later_waits_and_then_runs():
    script = Script(observing=True)
    script.reply("observe")
    later = START + timedelta(hours=5)
    script.step(Planned(rows_of([op("user")]), later))
    assert script.plan.state is PlanState.SCHEDULED
    assert script.sent == {}
    script.tick_due()
    assert script.now == later
    assert list(script.sent) == ["user"]


def test_cancelling_while_observing_ends_at_once():
    script = Script(observing=True)
    script.cancel()
    assert script.plan.state is PlanState.CANCELLED
    script.reply("observe")
    assert script.plan.state is PlanState.CANCELLED


def test_cancelling_stops_what_has_not_begun_and_undoes_what_changed():
    script = Script(*JOINER)
    script.did("user")
    script.cancel()
    assert script.plan.state is PlanState.COMPENSATING
    assert script.state("number") == "skipped"
    script.did("licence", "group")
    script.undone("group", "licence", "user")
    assert script.plan.state is PlanState.CANCELLED
    assert script.plan.reason.code == "cancelled"


def test_cancelling_a_held_plan_tries_the_failed_undo_again():
    script = Script(op("user"), op("licence", "user"))
    script.did("user")
    script.reply("licence", "refused", error="no")
    script.reply("user", "refused", error="no")
    assert script.plan.state is PlanState.HELD
    script.cancel()
    script.undone("user")
    assert script.plan.state is PlanState.CANCELLED
    assert script.in_place() == set()


def test_a_retried_plan_observes_and_plans_again():
    script = Script(*JOINER)
    script.reply("user", "refused", error="no")
    script.retry()
    assert (script.plan.state, script.plan.round, script.plan.reason) == (PlanState.OBSERVING, 2, None)
    script.reply("observe")
    script.step(Planned(rows_of([op("user")], 2)))
    script.did("user")
    assert script.plan.state is PlanState.SUCCEEDED


def test_what_an_earlier_round_changed_is_undone_with_the_later_one():
    script = Script(op("user"), op("mailbox", "user", failure="hold"))
    script.did("user")
    script.reply("mailbox", "failed", error="broken")
    assert script.plan.state is PlanState.HELD
    script.retry()
    script.reply("observe")
    script.step(Planned(rows_of([op("licence"), op("number", "licence")], 2)))
    script.did("licence")
    script.reply("number", "refused", error="no")
    assert list(script.sent) == ["licence"], "later rounds first"
    script.undone("licence")
    assert list(script.sent) == ["user"]
    script.step(replace(script.make_reply("licence"), operation_id=script.row("user", 1).operation_id))
    assert script.plan.state is PlanState.COMPENSATED
    assert script.in_place() == set()


def test_a_refused_retry_of_a_plan_that_left_changes_is_held():
    script = Script(op("user"), op("mailbox", "user", failure="hold"))
    script.did("user")
    script.reply("mailbox", "failed", error="broken")
    script.retry()
    script.reply("observe")
    script.step(PlanningRefused(Reason("no-seats", "none")))
    assert script.plan.state is PlanState.HELD


def test_the_arguments_of_a_step_are_not_changed():
    plan, row = new_plan(), observe_row()
    made = advance(plan, [row], [], START)
    assert made.operations[0].state == "dispatched"
    assert (row.state, row.attempt, plan.due_at) == ("pending", 0, None)


def test_a_transition_does_not_touch_the_plan_row_unless_it_is_due_earlier():
    script = Script(op("a", timeout_seconds=60), op("b", "a", timeout_seconds=600))
    script.now += timedelta(seconds=1)
    assert not script.reply("a", changed=False).plan_changed
    moved = script.tick_due()
    assert moved.commands == ()
    assert script.plan.due_at == script.row("b").due_at
