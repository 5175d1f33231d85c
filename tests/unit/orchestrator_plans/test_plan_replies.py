"""Duplicate, late and foreign replies as a script: they change nothing, or exactly what they should."""

from __future__ import annotations

from orchestrator.domain.plan import PlanState, Retry
from orchestrator.domain.plan_status import dispatch_id
from support.plan_script import Script, op


def test_duplicates_and_late_replies_are_harmless():
    script = Script(op("user", retry=Retry(first_seconds=1)), op("licence", "user"))
    failed = script.make_reply("user", "failed", error="busy", retryable=True)
    script.step(failed, failed)
    script.tick_due()
    script.step(failed)
    assert script.row("user").attempt == 2
    done = script.make_reply("user", changed=True, undo="undo.user")
    script.step(done, done, failed)
    assert script.states() == {"user": "succeeded", "licence": "dispatched"}
    assert script.step(done).operations == ()


def test_a_success_of_an_earlier_attempt_finishes_an_unfinished_operation():
    script = Script(op("user", retry=Retry(first_seconds=1)))
    first = script.row("user").operation_id
    script.reply("user", "failed", error="timeout", retryable=True)
    script.tick_due()
    script.reply("user", operation_id=first, changed=True, undo="undo.user")
    assert script.plan.state is PlanState.SUCCEEDED


def test_a_command_that_came_to_its_turn_too_late_is_sent_again_however_often():
    script = Script(op("user", retry=Retry(attempts_max=2, first_seconds=1)))
    sent = set()
    for _ in range(5):
        sent.add(script.row("user").operation_id)
        script.reply("user", "failed", error="deadline-exceeded", retryable=False)
        script.tick_due()
    assert len(sent) == 5
    script.reply("user")
    assert script.plan.state is PlanState.SUCCEEDED


def test_replies_to_operations_the_plan_does_not_have_change_nothing():
    script = Script(op("user"))
    made = script.reply("user", operation_id=dispatch_id(script.row("user").id, 99))
    assert made.operations == ()
    assert not made.plan_changed


def test_a_duplicate_reply_to_an_ended_plan_does_not_end_it_again():
    script = Script(op("user"))
    done = script.make_reply("user")
    assert script.step(done).ended
    assert not script.step(done).ended
