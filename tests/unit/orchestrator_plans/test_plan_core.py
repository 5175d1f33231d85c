"""The plan core as a script: given these replies, expect these commands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.plan import PlanState, Reason, Retry, Wait, ref
from orchestrator.domain.plan_core import advance
from orchestrator.domain.plan_status import Planned, PlanningRefused, TimerFired, dispatch_id
from support.plan_script import START, Script, new_plan, observe_row, op, rows_of

JOINER = (
    op("user"),
    op("licence", "user", params={"user_id": ref("user", "id")}),
    op("group", "user"),
    op("number", "licence", target="pwsh"),
)


def test_observing_asks_the_planner_with_what_was_read():
    script = Script(observing=True)
    assert list(script.sent) == ["observe"]
    assert script.reply("observe", output={"user": {"id": "7"}}).observed == {"user": {"id": "7"}}


def test_an_empty_plan_succeeds_at_once():
    script = Script()
    assert script.plan.state is PlanState.SUCCEEDED
    assert script.last.ended
    assert script.plan.due_at is None


def test_operations_go_out_when_all_they_need_succeeded_with_references_resolved():
    script = Script(*JOINER)
    assert list(script.sent) == ["user"]
    script.did("user")
    assert set(script.sent) == {"licence", "group"}
    assert script.sent["licence"].params == {"user_id": "user"}
    script.did("group")
    assert script.sent == {}
    script.did("licence")
    assert set(script.sent) == {"number"}
    script.did("number")
    assert script.plan.state is PlanState.SUCCEEDED
    assert script.in_place() == {"user", "licence", "group", "number"}


def test_a_refusal_before_any_change_ends_refused_with_the_adapters_reason():
    script = Script(*JOINER)
    script.reply("user", "refused", error={"code": "upn-taken", "message": "taken", "remedy": "choose another"})
    assert script.plan.state is PlanState.REFUSED
    assert script.plan.reason == Reason("upn-taken", "user: taken", "choose another")
    assert script.states() == {"user": "refused", "licence": "skipped", "group": "skipped", "number": "skipped"}


def test_compensation_undoes_in_reverse_dependency_order():
    script = Script(*JOINER)
    script.did("user", "licence", "group")
    script.reply("number", "refused", error="number-taken")
    assert script.plan.state is PlanState.COMPENSATING
    assert {command.name for command in script.sent.values()} == {"undo.licence", "undo.group"}
    script.undone("group")
    assert script.sent == {}, "the user goes last"
    script.undone("licence")
    assert [command.name for command in script.sent.values()] == ["undo.user"]
    script.undone("user")
    assert script.plan.state is PlanState.COMPENSATED
    assert script.plan.reason.code == "number-taken"
    assert script.in_place() == set()


def test_an_undo_goes_to_the_same_service_and_subject_with_the_replys_parameters():
    script = Script(op("user"), op("number", "user", target="pwsh"), op("policy", "number", target="pwsh"))
    script.did("user", "number")
    script.reply("policy", "refused", error="no")
    command = script.sent["number"]
    assert (command.target, command.subject, command.name, command.params) == (
        "pwsh",
        "zoe",
        "undo.number",
        {"of": "number"},
    )


def test_only_what_changed_is_undone():
    script = Script(*JOINER)
    script.did("user")
    script.reply("licence", changed=False)
    script.did("group")
    script.reply("number", "refused", error="no")
    assert {command.name for command in script.sent.values()} == {"undo.group"}
    script.undone("group", "user")
    assert script.states()["licence"] == "succeeded"
    assert script.plan.state is PlanState.COMPENSATED


def test_order_holds_across_an_operation_that_changed_nothing():
    script = Script(op("a"), op("b", "a"), op("c", "b"), op("d", "c"))
    script.did("a")
    script.reply("b")
    script.did("c")
    script.reply("d", "refused", error="no")
    assert list(script.sent) == ["c"]
    script.undone("c")
    assert list(script.sent) == ["a"]


def test_what_should_stay_is_not_undone():
    script = Script(op("user", compensates=False), op("licence", "user"), op("number", "licence"))
    script.did("user", "licence")
    script.reply("number", "refused", error="no")
    script.undone("licence")
    assert script.plan.state is PlanState.COMPENSATED
    assert script.in_place() == {"user"}


def test_a_command_that_is_out_is_awaited_and_then_undone():
    script = Script(*JOINER)
    script.did("user", "licence")
    script.reply("number", "refused", error="no")
    assert set(script.sent) == {"licence"}, "the group is still out, so the user has to stay"
    script.undone("licence")
    assert script.sent == {}
    script.did("group")
    assert set(script.sent) == {"group"}
    script.undone("group")
    assert set(script.sent) == {"user"}


def test_a_failed_operation_that_changed_something_is_undone_too():
    script = Script(op("user"), op("mailbox", "user"))
    script.did("user")
    script.reply("mailbox", "failed", error="half", changed=True, undo="undo.mailbox")
    assert list(script.sent) == ["mailbox"]
    script.undone("mailbox", "user")
    assert script.plan.state is PlanState.COMPENSATED


def test_a_failed_undo_holds_the_plan_and_keeps_what_it_depends_on():
    script = Script(*JOINER)
    script.did("user", "licence", "group")
    script.reply("number", "refused", error="no")
    script.reply("licence", "refused", error="plan-dependency")
    script.undone("group")
    assert script.plan.state is PlanState.HELD
    assert script.plan.reason.code == "undo-failed"
    assert "licence" in script.plan.reason.message
    assert script.in_place() == {"user", "licence"}


def test_an_undo_is_retried_within_its_bounds():
    script = Script(op("user", retry=Retry(attempts_max=3, first_seconds=5)), op("licence", "user"))
    script.did("user")
    script.reply("licence", "refused", error="no")
    for _ in range(2):
        script.reply("user", "failed", error="busy", retryable=True)
        assert script.state("user") == "compensating"
        assert script.sent == {}
        script.tick_due()
        assert script.sent["user"].name == "undo.user"
    script.reply("user", "failed", error="busy", retryable=True)
    assert script.plan.state is PlanState.HELD


def test_a_retryable_failure_is_retried_with_growing_pauses_and_a_new_operation_id():
    script = Script(op("user", retry=Retry(attempts_max=4, first_seconds=2, factor=3, cap_seconds=10)))
    ids, pauses = [script.sent["user"].operation_id], []
    for _ in range(3):
        script.reply("user", "failed", error="throttled", retryable=True)
        pauses.append((script.plan.due_at - script.now).total_seconds())
        script.tick_due()
        ids.append(script.sent["user"].operation_id)
    assert [2, 6, 10] <= pauses <= [2.4, 7.2, 12]
    assert ids == [dispatch_id(script.row("user").id, attempt) for attempt in (1, 2, 3, 4)]
    script.reply("user", "failed", error="throttled", retryable=True)
    assert script.plan.state is PlanState.COMPENSATED
    assert script.plan.reason.code == "throttled"


def test_hold_skips_what_depends_finishes_the_rest_and_ends_held():
    script = Script(op("user"), op("mailbox", "user", failure="hold"), op("proof", "mailbox"), op("group", "user"))
    script.did("user")
    script.reply("mailbox", "failed", error="broken")
    assert script.plan.state is PlanState.RUNNING
    assert script.state("proof") == "skipped"
    script.did("group")
    assert script.plan.state is PlanState.HELD
    assert script.plan.reason.code == "broken"
    assert script.in_place() == {"user", "group"}


def test_continue_goes_on_without_the_operation():
    script = Script(op("user"), op("manager", "user", failure="continue"), op("proof", "manager"))
    script.did("user")
    script.reply("manager", "refused", error="no")
    assert list(script.sent) == ["proof"]
    script.reply("proof")
    assert script.plan.state is PlanState.SUCCEEDED


def test_what_refers_to_an_operation_that_was_gone_on_without_is_skipped():
    script = Script(
        op("boss", failure="continue"),
        op("manager", params={"id": ref("boss", "id")}, needs="boss", failure="continue"),
        op("proof", "manager"),
    )
    script.reply("boss", "failed", error="no")
    assert script.state("manager") == "skipped"
    script.reply("proof")
    assert script.plan.state is PlanState.SUCCEEDED


def test_a_reference_to_nothing_fails_the_operation_that_has_it():
    script = Script(op("user"), op("licence", "user", params={"id": ref("user", "missing")}))
    script.reply("user", changed=True, undo="undo.user", output={"id": "7"})
    assert script.state("licence") == "failed"
    assert script.row("licence").error["code"] == "reference-missing"
    script.undone("user")
    assert script.plan.state is PlanState.COMPENSATED


# Waits


def wait_script(**fields):
    wait = Wait(first_seconds=10, factor=2, cap_seconds=60, deadline_seconds=300, **fields)
    return Script(op("teams", target="pwsh", wait=wait), op("number", "teams"), lags={"licence.teams": 50.0})


def test_a_wait_polls_with_growing_pauses_until_ready():
    script = wait_script(ready={"user.FeatureTypes": {"$contains": "PhoneSystem"}})
    assert script.sent == {}
    script.tick(10)
    assert list(script.sent) == ["teams"]
    script.reply("teams", "failed", error="not-found", retryable=True)
    assert 10 <= (script.plan.due_at - script.now).total_seconds() <= 12
    script.tick_due()
    script.reply("teams", output={"user": {"FeatureTypes": ["Teams"]}})
    assert 20 <= (script.row("teams").due_at - script.now).total_seconds() <= 24
    assert script.row("teams").error["code"] == "not-ready"
    script.tick_due()
    script.reply("teams", output={"user": {"FeatureTypes": ["Teams", "PhoneSystem"]}})
    assert list(script.sent) == ["number"]


def test_a_refused_not_found_is_not_yet_there_for_a_wait():
    script = wait_script()
    script.tick(10)
    script.reply("teams", "refused", error="user-not-found")
    assert script.state("teams") == "waiting"


def test_a_wait_ends_at_once_on_any_other_refusal():
    script = wait_script()
    script.tick(10)
    script.reply("teams", "refused", error="permission-missing")
    assert script.plan.state is PlanState.REFUSED


def test_a_wait_polls_once_more_at_its_deadline_and_then_gives_up_saying_what_it_waited_for():
    script = wait_script()
    last = None
    while script.plan.state is PlanState.RUNNING:
        script.tick_due()
        last = script.now
        script.reply("teams", "failed", error="not-found", retryable=True)
    assert last - START == timedelta(seconds=300)
    assert script.plan.reason.code == "not-ready"
    assert "teams" in script.plan.reason.message


def test_the_learned_lag_sets_the_first_poll_and_a_success_is_measured():
    script = wait_script(gate="licence.teams")
    assert (script.plan.due_at - script.now).total_seconds() == pytest.approx(30)
    script.tick_due()
    assert script.reply("teams").lags == (("licence.teams", 30.0),)


def test_a_duplicate_of_an_earlier_poll_changes_nothing():
    script = wait_script()
    script.tick(10)
    earlier = script.make_reply("teams", "failed", error="not-found", retryable=True)
    script.step(earlier)
    due = script.row("teams").due_at
    script.step(earlier)
    assert script.row("teams").due_at == due
    script.tick_due()
    script.step(earlier)
    assert script.state("teams") == "dispatched"


def test_a_plan_being_undone_waits_for_nothing():
    script = Script(op("user"), op("teams", "user", wait=Wait(first_seconds=10)), op("group", "user"))
    script.did("user")
    script.tick(10)
    script.reply("group", "refused", error="no")
    assert script.state("teams") == "skipped"
    assert list(script.sent) == ["user"]


# Proofs


def proof_script(failure="compensate"):
    proof = op(
        "proof",
        "user",
        failure=failure,
        retry=Retry(attempts_max=3, first_seconds=1),
        expect={"user.id": ref("user", "id"), "user.enabled": True},
    )
    script = Script(op("user"), proof)
    script.did("user")
    return script


def test_a_proof_reads_again_until_the_output_is_as_expected():
    script = proof_script()
    script.reply("proof", output={"user": {"id": "user", "enabled": False}})
    assert script.state("proof") == "waiting"
    script.tick_due()
    script.reply("proof", output={"user": {"id": "user", "enabled": True}})
    assert script.plan.state is PlanState.SUCCEEDED


def test_an_unproven_plan_says_what_differs():
    script = proof_script(failure="hold")
    for _ in range(2):
        script.reply("proof", output={"user": {"id": "other", "enabled": False}})
        script.tick_due()
    script.reply("proof", output={"user": {"id": "other", "enabled": False}})
    assert script.plan.state is PlanState.HELD
    assert script.plan.reason.code == "unproven"
    assert "user.id is 'other', expected 'user'" in script.plan.reason.message


def test_a_defect_in_an_expectation_fails_the_operation_and_not_the_batch():
    script = Script(op("proof", failure="hold", expect={"user": {"$like": "x"}}))
    script.reply("proof", output={})
    assert script.plan.state is PlanState.HELD
    assert script.plan.reason.code == "plan-defect"


# Silence


def test_silence_is_asked_about_with_the_same_operation_id_in_growing_intervals():
    script = Script(op("user", timeout_seconds=60))
    first = script.sent["user"]
    assert (script.plan.due_at - script.now).total_seconds() == 70
    pauses = []
    for _ in range(6):
        script.tick_due()
        again = script.sent["user"]
        assert again.operation_id == first.operation_id
        assert again.deadline == script.now + timedelta(seconds=60)
        pauses.append((script.plan.due_at - script.now).total_seconds())
    assert pauses == [30, 60, 120, 240, 480, 960]


def silent_user():
    script = Script(op("user"), op("group"))
    script.did("group")
    while script.plan.state is PlanState.RUNNING:
        script.tick_due()
    return script


def test_an_outcome_that_stays_unknown_holds_the_plan_after_the_rest_was_undone():
    script = silent_user()
    assert script.plan.state is PlanState.COMPENSATING
    script.undone("group")
    assert script.plan.state is PlanState.HELD
    assert script.plan.reason.code == "outcome-unknown"


def test_the_late_answer_to_an_unknown_outcome_lets_the_undo_go_on():
    script = silent_user()
    script.undone("group")
    script.did("user")
    assert script.plan.state is PlanState.COMPENSATING
    assert script.sent["user"].name == "undo.user"
    script.undone("user")
    assert script.plan.state is PlanState.COMPENSATED
    assert script.plan.reason.code == "no-reply"


def test_cancelling_a_held_plan_asks_for_the_unknown_outcome_again():
    script = silent_user()
    script.undone("group")
    script.cancel()
    assert script.sent["user"].operation_id == script.row("user").operation_id
    script.reply("user", "failed", error="never-started")
    assert script.plan.state is PlanState.CANCELLED


def test_a_silent_read_is_read_again():
    script = Script(op("proof", expect={"a": 1}, retry=Retry(attempts_max=2)))
    first = script.sent["proof"].operation_id
    for _ in range(7):
        script.tick_due()
    assert script.state("proof") == "waiting"
    script.tick_due()
    assert script.sent["proof"].operation_id != first


# Duplicates, late and foreign replies


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


# Planning, schedule, cancel, retry


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
