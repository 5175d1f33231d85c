"""The plan core as a script: given these replies, expect these commands."""

from __future__ import annotations

from orchestrator.domain.plan import PlanState, Reason, Retry, ref
from orchestrator.domain.plan_status import dispatch_id
from support.plan_script import Script, op

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


def test_a_failure_whose_outcome_is_ambiguous_is_undone_as_if_it_had_changed_something():
    script = Script(op("user"), op("number", "user"))
    script.did("user")
    script.reply("number", "failed", error="ambiguous", changed=True, undo="undo.number")
    assert script.in_place() == {"user", "number"}
    assert [command.name for command in script.sent.values()] == ["undo.number"]
    script.undone("number", "user")
    assert script.plan.state is PlanState.COMPENSATED
    assert script.plan.reason.code == "ambiguous"
    assert script.in_place() == set()


def test_an_ambiguous_attempt_that_is_tried_again_keeps_the_undo_that_leads_back_to_the_beginning():
    script = Script(op("number", retry=Retry(attempts_max=2, first_seconds=1)), op("proof", "number"))
    script.reply("number", "failed", error="ambiguous", retryable=True, changed=True, undo="undo.number")
    assert script.state("number") == "waiting"
    script.tick_due()
    script.reply("number", changed=False)
    assert script.state("number") == "succeeded"
    assert script.in_place() == {"number"}
    script.reply("proof", "refused", error="no")
    assert [command.name for command in script.sent.values()] == ["undo.number"]


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
