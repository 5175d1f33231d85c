"""Operations as scripts: given these answers, these cmdlets are called, this is recorded and this is the verdict."""

import pytest

from pwsh_gateway.domain.operations import Undo
from pwsh_gateway.domain.protocol import Answer, CmdletError, Invocation, Raised, Returned
from support.procedures import (
    ASSIGN,
    CATALOGUE,
    GRANT,
    MISSING,
    NUMBER,
    USER,
    done,
    play,
    shape,
    user,
)


def test_a_number_is_assigned_after_what_was_there_is_recorded() -> None:
    steps, conclusion = play("teams.number.assign", ASSIGN, [user(LineURI=None), Returned(())])
    assert shape(steps) == ["Get-CsOnlineUser", {"LineURI": None}, "Set-CsPhoneNumberAssignment"]
    write = steps[-1]
    assert isinstance(write, Invocation)
    assert write.params == {"Identity": USER, "TelephoneNumber": NUMBER, "NumberType": "DirectRouting"}
    assert write.writes
    verdict = done(conclusion).verdict
    assert verdict.outcome == "succeeded"
    assert verdict.changed
    assert verdict.undo == Undo("teams.number.unassign", 1, ASSIGN)
    assert done(conclusion).written == {"LineURI": NUMBER}


def test_a_number_that_is_there_already_changes_nothing() -> None:
    steps, conclusion = play("teams.number.assign", ASSIGN, [user(LineURI=f"tel:{NUMBER}")])
    assert shape(steps) == ["Get-CsOnlineUser"]
    verdict = done(conclusion).verdict
    assert (verdict.outcome, verdict.changed, verdict.undo) == ("succeeded", False, None)


def test_another_number_is_refused_rather_than_replaced() -> None:
    steps, conclusion = play("teams.number.assign", ASSIGN, [user(LineURI="tel:+41440000000")])
    assert shape(steps) == ["Get-CsOnlineUser"]
    verdict = done(conclusion).verdict
    assert verdict.outcome == "refused"
    assert verdict.problem is not None
    assert verdict.problem.code == "other-number-assigned"
    assert verdict.problem.remedy


def test_a_location_is_passed_when_given() -> None:
    location = "7b0f3c44-1b5e-4a7b-9a11-6f2f8f0f9c01"
    steps, _ = play("teams.number.assign", ASSIGN | {"location_id": location}, [user(), Returned(())])
    assert isinstance(steps[-1], Invocation)
    assert steps[-1].params["LocationId"] == location


def test_unassign_brings_the_location_into_its_undo() -> None:
    location = "7b0f3c44-1b5e-4a7b-9a11-6f2f8f0f9c01"
    number = Returned(({"LocationId": location},))
    steps, conclusion = play("teams.number.unassign", ASSIGN, [user(LineURI=f"tel:{NUMBER}"), number, Returned(())])
    assert shape(steps)[-2:] == [{"LineURI": f"tel:{NUMBER}"}, "Remove-CsPhoneNumberAssignment"]
    assert done(conclusion).verdict.undo == Undo("teams.number.assign", 1, ASSIGN | {"location_id": location})


def test_unassign_without_a_location_undoes_without_one() -> None:
    nowhere = Returned(({"LocationId": "00000000-0000-0000-0000-000000000000"},))
    _, conclusion = play("teams.number.unassign", ASSIGN, [user(LineURI=f"tel:{NUMBER}"), nowhere, Returned(())])
    undo = done(conclusion).verdict.undo
    assert undo is not None
    assert undo.params["location_id"] is None
    assert CATALOGUE.find("teams.number.assign", 1).check(undo.params) == ASSIGN


@pytest.mark.parametrize("line", [None, "", "tel:+41440000000"])
def test_unassign_leaves_what_is_not_ours(line: str | None) -> None:
    steps, conclusion = play("teams.number.unassign", ASSIGN, [user(LineURI=line), Returned(())])
    assert shape(steps) == ["Get-CsOnlineUser", "Get-CsPhoneNumberAssignment"]
    assert not done(conclusion).verdict.changed


def test_a_policy_is_granted_and_its_undo_names_the_former_one() -> None:
    steps, conclusion = play(
        "teams.policy.grant", GRANT, [user(TeamsCallingPolicy={"Name": "Tag:Old", "Authority": "Tenant"}), Returned(())]
    )
    assert shape(steps) == ["Get-CsOnlineUser", {"TeamsCallingPolicy": "Old"}, "Grant-CsTeamsCallingPolicy"]
    assert isinstance(steps[-1], Invocation)
    assert steps[-1].params == {"Identity": USER, "PolicyName": "AllowCalling"}
    verdict = done(conclusion).verdict
    assert verdict.output == {"former": "Old"}
    assert verdict.undo == Undo("teams.policy.grant", 1, GRANT | {"policy_name": "Old"})


def test_null_is_the_default_policy() -> None:
    steps, conclusion = play(
        "teams.policy.grant", GRANT | {"policy_name": None}, [user(TeamsCallingPolicy={"Name": "Old"}), Returned(())]
    )
    assert isinstance(steps[-1], Invocation)
    assert steps[-1].params == {"Identity": USER, "PolicyName": None}
    assert done(conclusion).verdict.changed


@pytest.mark.parametrize("held", [None, "Global", {"Name": "Global"}])
def test_the_default_policy_has_several_names(held: object) -> None:
    _, conclusion = play("teams.policy.grant", GRANT | {"policy_name": None}, [user(TeamsCallingPolicy=held)])
    assert not done(conclusion).verdict.changed


def test_only_settings_that_differ_are_written_and_named_in_the_undo() -> None:
    settings = {"MessageCopyForSentAsEnabled": True, "CustomAttribute1": "x", "MaxSendSize": "35MB", "Type": "Shared"}
    mailbox = Returned(
        (
            {
                "MessageCopyForSentAsEnabled": False,
                "CustomAttribute1": "",
                "MaxSendSize": "35 MB (36,700,160 bytes)",
                "RecipientTypeDetails": "UserMailbox",
            },
        )
    )
    steps, conclusion = play(
        "exchange.mailbox.configure", {"identity": USER, "settings": settings}, [mailbox, Returned(())]
    )
    assert isinstance(steps[0], Invocation)
    assert {"Identity", "Properties"} == set(steps[0].params)
    assert "RecipientTypeDetails" in steps[0].params["Properties"]
    assert isinstance(steps[-1], Invocation)
    assert steps[-1].params == {
        "Identity": USER, "MessageCopyForSentAsEnabled": True, "CustomAttribute1": "x", "Type": "Shared",
    }  # fmt: skip
    undo = done(conclusion).verdict.undo
    assert undo == Undo(
        "exchange.mailbox.configure",
        1,
        {
            "identity": USER,
            "settings": {"MessageCopyForSentAsEnabled": False, "CustomAttribute1": "", "Type": "Regular"},
        },
    )
    assert CATALOGUE.find("exchange.mailbox.configure", 1).check(undo.params) == undo.params


def test_a_mailbox_is_read_with_its_client_access() -> None:
    steps, conclusion = play(
        "exchange.mailbox.get",
        {"identity": USER},
        [
            Returned(({"UserPrincipalName": USER, "RecipientTypeDetails": "UserMailbox"},)),
            Returned(({"ImapEnabled": True},)),
        ],
    )
    assert shape(steps) == ["Get-EXOMailbox", "Get-EXOCasMailbox"]
    output = done(conclusion).verdict.output
    assert output["mailbox"]["RecipientTypeDetails"] == "UserMailbox"
    assert output["mailbox"]["Type"] == "Regular"
    assert output["mailbox"]["MailTip"] is None
    assert output["cas"]["ImapEnabled"] is True


def test_a_user_is_read_with_policies_by_name() -> None:
    _, conclusion = play(
        "teams.user.get",
        {"identity": USER},
        [user(TenantDialPlan={"Name": "CH-Zurich"}, FeatureTypes=["Teams"], LineURI="tel:+41")],
    )
    read = done(conclusion).verdict.output["user"]
    assert read["TenantDialPlan"] == "CH-Zurich"
    assert read["TeamsCallingPolicy"] is None
    assert read["FeatureTypes"] == ["Teams"]
    assert read["LineURI"] == "tel:+41"


@pytest.mark.parametrize(
    ("answer", "outcome", "code", "retryable"),
    [
        (MISSING, "failed", "not-found", True),
        (Returned(()), "failed", "not-found", True),
        (Returned(({}, {})), "refused", "ambiguous-identity", False),
        (Raised(CmdletError("Access Denied.")), "refused", "permission-missing", False),
        (Raised(CmdletError("something nobody has seen before")), "failed", "cmdlet-error", False),
        (Raised(CmdletError("other", fqid="UcmeshTenantMismatch")), "failed", "tenant-mismatch", False),
    ],
)
def test_reads_that_end_the_operation(answer: Answer, outcome: str, code: str, retryable: bool) -> None:
    _, conclusion = play("teams.user.get", {"identity": USER}, [answer])
    verdict = done(conclusion).verdict
    assert verdict.problem is not None
    assert (verdict.outcome, verdict.problem.code, verdict.problem.retryable) == (outcome, code, retryable)


@pytest.mark.parametrize(
    ("message", "outcome", "code"),
    [
        ("Telephone Number '+41445551000' has already been assigned to another user", "refused", "number-taken"),
        ("Telephone Number '+41445551000' is not found from tenant '8d2f'", "refused", "number-unknown"),
        ("User 'zoe' lacks appropriate licenses to assign a 'CallingPlan' number", "refused", "licence-missing"),
    ],
)
def test_writes_that_microsoft_refuses(message: str, outcome: str, code: str) -> None:
    error = CmdletError(message, fqid="BadRequest")
    _, conclusion = play("teams.number.assign", ASSIGN, [user(), Raised(error)])
    verdict = done(conclusion).verdict
    assert verdict.problem is not None
    assert (verdict.outcome, verdict.problem.code, verdict.changed) == (outcome, code, False)
