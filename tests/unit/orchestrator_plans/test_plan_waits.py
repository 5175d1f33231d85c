"""Waits, proofs and silence as a script: what a plan does while the tenant is not ready yet."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.plan import PlanState, Retry, Wait, ref
from orchestrator.domain.plan_step import NUDGES_MAX, OUTAGE_SECONDS
from support.plan_script import START, Script, op


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
    for _ in range(8):
        script.tick_due()
        again = script.sent["user"]
        assert again.operation_id == first.operation_id
        assert again.deadline == script.now + timedelta(seconds=60 + OUTAGE_SECONDS)
        pauses.append((script.plan.due_at - script.now).total_seconds())
    assert pauses == [30, 60, 120, 240, 480, 960, 960, 960]


def test_an_answer_is_awaited_for_a_day():
    script = Script(op("user"), op("group"))
    asked_at = script.now
    script.did("group")
    while script.plan.state is PlanState.RUNNING:
        script.tick_due()
    assert timedelta(days=1) < script.now - asked_at < timedelta(days=1.1)


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
    for _ in range(NUDGES_MAX + 1):
        script.tick_due()
    assert script.state("proof") == "waiting"
    script.tick_due()
    assert script.sent["proof"].operation_id != first
