"""The joiner as a script: given these replies, expect these commands; and undone in reverse."""

import pytest

from orchestrator.domain.desired import as_json
from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.observed import provisioned
from orchestrator.domain.plan import PlanState
from orchestrator.domain.plan_status import operation_from_json, operation_to_json
from support.plan_script import Script
from support.rules_customer import ALL_STAFF, E5, VOICE_USERS
from support.rules_plan import UPN, desired, joiner_plan

USER = "22222222-0000-4000-8000-000000000001"
STAFF, VOICE = f"group:{ALL_STAFF}", f"group:{VOICE_USERS}"
DIAL_PLAN, CALLING = "policy:TenantDialPlan", "policy:TeamsCallingPolicy"
CREATED = {"user_id": USER, "user_principal_name": UPN, "created": True}


def script(**facts):
    return Script(*joiner_plan(**facts).operations)


def made(script):
    """The user is there."""
    undo = {"operation": "user.delete", "version": 1, "params": {"user_id": USER}}
    script.reply("user", changed=True, output=CREATED, undo=undo)


def until_ready(script):
    """User, licence, groups done; mailbox and Teams have arrived."""
    made(script)
    script.did("licences", STAFF, VOICE)
    script.tick_due()
    script.reply("wait-mailbox", output={"mailbox": {}})
    script.reply("wait-teams", output={"user": {"FeatureTypes": ["Teams", "PhoneSystem"]}})


def test_the_user_comes_first_then_licence_and_groups():
    run = script()
    assert set(run.sent) == {"user"}
    command = run.sent["user"]
    assert command.name == "user.ensure"
    assert command.subject == UPN
    assert command.params["user_principal_name"] == UPN
    assert command.params["attributes"]["mailNickname"] == "zoe.muller"
    assert "password" not in str(command.params).lower()
    made(run)
    assert set(run.sent) == {"licences", STAFF, VOICE}
    assert run.sent["licences"].params == {"user_id": USER, "add": [{"skuId": E5, "disabledPlans": []}], "remove": []}
    assert run.sent[STAFF].params == {"group_id": ALL_STAFF, "user_id": USER}


def test_mailbox_and_teams_are_waited_for_after_the_licence():
    run = script()
    made(run)
    run.did(STAFF, VOICE)
    assert run.state("wait-mailbox") == "pending"
    run.did("licences")
    assert (run.state("wait-mailbox"), run.state("wait-teams")) == ("waiting", "waiting")
    run.tick_due()
    assert {command.name for command in run.sent.values()} == {"exchange.mailbox.get", "teams.user.get"}


def test_teams_is_ready_only_when_telephony_is_there():
    run = script()
    made(run)
    run.did("licences", STAFF, VOICE)
    run.tick_due()
    run.reply("wait-teams", "failed", error="not-found", retryable=True)
    assert run.state("wait-teams") == "waiting"
    run.tick_due()
    run.reply("wait-teams", output={"user": {"FeatureTypes": ["Teams"]}})
    assert run.state("wait-teams") == "waiting"
    run.tick_due()
    run.reply("wait-teams", output={"user": {"FeatureTypes": ["Teams", "PhoneSystem"]}})
    assert {"number", DIAL_PLAN, CALLING} <= set(run.sent)


@pytest.mark.parametrize(
    ("kind", "features"), [("CallingPlan", ["PhoneSystem", "CallingPlan"]), ("DirectRouting", ["PhoneSystem"])]
)
def test_a_number_waits_for_the_features_of_its_kind(kind, features):
    run = Script(*joiner_plan(number=FreeNumber("+41445551000", kind, None)).operations)
    made(run)
    run.did("licences", STAFF, VOICE)
    for missing in features:
        run.tick_due()
        run.reply("wait-teams", output={"user": {"FeatureTypes": ["Teams", *(f for f in features if f != missing)]}})
        assert (run.state("wait-teams"), run.state("number")) == ("waiting", "pending")
    run.tick_due()
    run.reply("wait-teams", output={"user": {"FeatureTypes": ["Teams", *features]}})
    assert run.sent["number"].params["number_type"] == kind


def test_the_last_word_is_the_read_back_of_all_three():
    run = script()
    until_ready(run)
    run.did("mailbox", "cas-mailbox", "number", DIAL_PLAN, CALLING)
    assert [run.state(f"verify-{name}") for name in ("entra", "exchange", "teams")] == ["dispatched"] * 3
    state = desired()
    run.reply(
        "verify-entra",
        output={
            "user": {
                "id": USER,
                "userPrincipalName": UPN,
                "employeeId": "NW-1",
                "assignedLicenses": [{"skuId": E5}],
                **state.attributes,
            },
            "group_ids": [ALL_STAFF, VOICE_USERS],
        },
    )
    mailbox = {"RecipientTypeDetails": "UserMailbox", "MessageCopyForSentAsEnabled": True}
    run.reply("verify-exchange", output={"mailbox": mailbox, "cas": {"ImapEnabled": False}})
    teams = {
        "LineURI": "tel:+41445551000",
        "EnterpriseVoiceEnabled": True,
        "TenantDialPlan": "ch-zurich",
        "TeamsCallingPolicy": "AllowCalling",
    }
    run.reply("verify-teams", output={"user": teams})
    assert run.plan.state is PlanState.SUCCEEDED


def test_a_read_back_that_differs_to_the_end_undoes_the_joiner():
    run = script()
    until_ready(run)
    run.did("mailbox", "cas-mailbox", "number", DIAL_PLAN, CALLING)
    while run.plan.state is PlanState.RUNNING:
        if run.state("verify-teams") == "dispatched":
            run.reply("verify-teams", output={"user": {"LineURI": None}})
        else:
            run.tick_due()
    assert run.plan.state is PlanState.COMPENSATING
    assert "user.LineURI" in run.plan.cause.message


def test_a_number_that_is_taken_undoes_everything_in_reverse():
    run = script()
    until_ready(run)
    run.did("mailbox", "cas-mailbox", DIAL_PLAN, CALLING)
    run.reply("number", "refused", error="number-taken")
    assert run.plan.state is PlanState.COMPENSATING
    assert run.state("licences") == "succeeded"
    assert run.state("user") == "succeeded"
    run.undone("mailbox", "cas-mailbox", DIAL_PLAN, CALLING)
    run.undone("licences", STAFF, VOICE)
    run.undone("user")
    assert run.plan.state is PlanState.COMPENSATED
    assert run.plan.reason.code == "number-taken"


def test_a_manager_is_waited_for_beside_everything_else():
    run = script(manager_employee_id="NW-9")
    assert run.state("await-manager") == "waiting"
    made(run)
    run.tick_due()
    assert run.sent["await-manager"].params == {"customer": "northwind", "employee_id": "NW-9"}
    run.reply("await-manager", output={"user_id": "boss", "user_principal_name": "boss@northwind.example"})
    assert run.sent["manager"].params == {"user": USER, "manager": "boss"}


def test_a_manager_who_never_comes_is_left_out():
    run = script(manager_employee_id="NW-9")
    until_ready(run)
    run.did("mailbox", "cas-mailbox", "number", DIAL_PLAN, CALLING)
    while run.state("await-manager") in ("waiting", "dispatched"):
        if run.state("await-manager") == "dispatched":
            run.reply("await-manager", "failed", error="person-not-provisioned", retryable=True)
        else:
            run.tick_due()
    assert run.state("manager") == "skipped"
    assert run.plan.state is PlanState.RUNNING
    assert run.state("verify-entra") == "dispatched"


def test_a_known_manager_needs_no_waiting():
    plan = joiner_plan(manager_id="boss", manager_employee_id="NW-9")
    keys = [operation.key for operation in plan.operations]
    assert "manager" in keys
    assert "await-manager" not in keys


def test_a_finished_person_has_an_empty_plan():
    state = desired()
    user = {
        "id": USER,
        "userPrincipalName": UPN,
        "assignedLicenses": [{"skuId": E5, "disabledPlans": []}],
        "group_ids": [ALL_STAFF, VOICE_USERS],
    }
    plan = joiner_plan(user=user, proved=provisioned(as_json(state), "+41445551000"))
    assert plan.operations == ()
    assert plan.effects["profile"] == "voice"


def test_nothing_secret_and_no_script_text_travels_in_a_plan():
    for operation in joiner_plan().operations:
        text = str(operation.params)
        assert "Set-" not in text
        assert "password" not in text.lower()


def test_every_operation_is_the_same_after_it_was_stored():
    """A replica that planned a person goes on with what it planned, another one with what it reads."""
    for operation in joiner_plan().operations:
        assert operation_from_json(operation_to_json(operation)) == operation
