"""The Teams cmdlets about users and their numbers, over every way in."""

import uuid

import pytest

from support.cmdlet_entry import E3, E5, MCOPSTN1, Entry

GENERATED = "Microsoft.Teams.ConfigAPI.Cmdlets.Generated.Cmdlets"


def test_a_licensed_user_has_features_and_no_number(entry: Entry) -> None:
    user_id, upn = entry.user(E5, city="Bern")

    for identity in (user_id, upn, f"sip:{upn}", upn.upper()):
        user = entry.run("Get-CsOnlineUser", Identity=identity)[0]
        assert user["Identity"] == user_id
    assert user["FeatureTypes"] == ["Teams", "PhoneSystem", "AudioConferencing"]
    assert (user["LineUri"], user["EnterpriseVoiceEnabled"], user["City"]) == (None, False, "Bern")
    assert user["TeamsCallingPolicy"] is None


def test_teams_does_not_know_a_user_before_its_time(entry: Entry, number: str) -> None:
    entry.tenant.turn(teams_provisioning_seconds=300)
    try:
        user_id, upn = entry.user(E5)
        early = entry.fails("Get-CsOnlineUser", Identity=upn)
        refused = entry.fails(
            "Set-CsPhoneNumberAssignment", Identity=user_id, TelephoneNumber=number, NumberType="DirectRouting"
        )
        entry.tenant.advance(301)
        assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["Identity"] == user_id
    finally:
        entry.tenant.turn(teams_provisioning_seconds=0)
    assert early["message"] == f'Management object not found for identity "{upn}".'
    assert refused["message"] == "The server responded with a Request Error, Status: NotFound"
    assert refused["fqid"] == f"NotFound,{GENERATED}.SetCsPhoneNumberAssignment_Set"
    assert (refused["category"], refused["reason"]) == ("InvalidOperation", "UndeclaredResponseException")


def test_an_unlicensed_user_is_listed_but_not_found(entry: Entry) -> None:
    _, upn = entry.user()

    assert "Management object not found" in entry.fails("Get-CsOnlineUser", Identity=upn)["message"]
    listed = entry.run("Get-CsOnlineUser", Filter=f"UserPrincipalName -eq '{upn}'")
    assert [one["AccountType"] for one in listed] == ["IneligibleUser"]


def test_a_number_is_assigned_in_silence_and_read_back(entry: Entry, number: str) -> None:
    user_id, upn = entry.user(E5)

    assert (
        entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number[1:], NumberType="DirectRouting")
        == []
    )

    user = entry.run("Get-CsOnlineUser", Identity=user_id)[0]
    assert (user["LineUri"], user["EnterpriseVoiceEnabled"]) == (f"tel:{number}", True)
    row = entry.run("Get-CsPhoneNumberAssignment", TelephoneNumber=number)[0]
    assert (row["AssignedPstnTargetId"], row["PstnAssignmentStatus"]) == (user_id, "UserAssigned")


def test_the_tenant_counts_what_changed_hands_and_not_what_was_repeated(entry: Entry, number: str) -> None:
    user_id, upn = entry.user(E5)
    arguments = {"Identity": user_id, "TelephoneNumber": number, "NumberType": "DirectRouting"}
    for cmdlet in ("Set", "Set", "Remove", "Set", "Set"):
        entry.run(f"{cmdlet}-CsPhoneNumberAssignment", **arguments)
    effects = {each["kind"]: each for each in entry.tenant.state("effects") if each["person"] == upn}
    assert effects["number"] == {"person": upn, "kind": "number", "what": number, "given": 2, "taken": 1}
    assert effects["licence"] == {"person": upn, "kind": "licence", "what": "SPE_E5", "given": 1, "taken": 0}


@pytest.mark.parametrize(
    ("taken", "kind", "text"),
    [
        ("+41445551900", "DirectRouting", "Telephone Number '+41445551900' has already been assigned to another user"),
        ("+41445551001", "OperatorConnect", "Telephone Number '+41445551001' is not found from tenant '{tenant}'"),
        ("+41445552000", "CallingPlan", "User '{upn}' lacks appropriate licenses to assign a 'CallingPlan' number"),
    ],
)
def test_a_number_is_refused_with_the_services_words(entry: Entry, taken: str, kind: str, text: str) -> None:
    _, upn = entry.user(E5)

    error = entry.fails("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=taken, NumberType=kind)

    assert error["message"] == text.format(tenant=entry.tenant.tenant_id, upn=upn)
    assert error["fqid"] == f"BadRequest,{GENERATED}.SetCsPhoneNumberAssignment_Set"
    assert error["reason"] == "RestException"


def test_a_user_without_phone_system_gets_no_number(entry: Entry, number: str) -> None:
    _, upn = entry.user(E3)

    error = entry.fails("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")

    assert error["message"] == f"User '{upn}' lacks appropriate licenses to assign a 'DirectRouting' number"


def test_a_direct_routing_number_nobody_uploaded_exists_only_while_assigned(entry: Entry) -> None:
    _, upn = entry.user(E5)
    foreign = f"+4930{uuid.uuid4().int % 10**8:08}"
    where = {"Identity": upn, "TelephoneNumber": foreign, "NumberType": "DirectRouting"}

    entry.run("Set-CsPhoneNumberAssignment", **where)
    assert entry.number(foreign) is not None
    entry.run("Remove-CsPhoneNumberAssignment", **where)
    assert entry.number(foreign) is None
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["EnterpriseVoiceEnabled"] is False


def test_removing_with_the_wrong_type_finds_nothing_and_remove_all_always_works(entry: Entry, number: str) -> None:
    _, upn = entry.user(E5)
    entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")

    error = entry.fails(
        "Remove-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="CallingPlan"
    )
    assert "is not found from tenant" in error["message"]
    entry.run("Remove-CsPhoneNumberAssignment", Identity=upn, RemoveAll=True)
    held = entry.number(number)
    assert held is not None
    assert held["holder"] is None


def test_losing_phone_system_frees_the_number_and_a_swap_in_one_call_keeps_it(entry: Entry, number: str) -> None:
    user_id, upn = entry.user(E5)
    entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")

    entry.licences(user_id, add=(E3, "e43b5b99-8dfb-405f-9987-dc307f34bcbd"), remove=(E5,))
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["LineUri"] == f"tel:{number}"
    entry.licences(user_id, remove=("e43b5b99-8dfb-405f-9987-dc307f34bcbd",))

    user = entry.run("Get-CsOnlineUser", Identity=upn)[0]
    assert (user["LineUri"], user["EnterpriseVoiceEnabled"], user["FeatureTypes"]) == (None, False, ["Teams"])
    error = entry.fails("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")
    assert error["message"].startswith(
        "The user already has a telephone number set in the on-premises"
    )  # misleading, as it is


def test_a_calling_plan_number_goes_with_the_calling_plan(entry: Entry) -> None:
    user_id, upn = entry.user(E5, MCOPSTN1)
    entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber="+41445552001", NumberType="CallingPlan")

    entry.licences(user_id, remove=(MCOPSTN1,))

    held = entry.number("+41445552001")
    assert held is not None
    assert held["holder"] is None
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["EnterpriseVoiceEnabled"] is False


def test_the_inventory_pages_and_filters(entry: Entry) -> None:
    page = entry.run("Get-CsPhoneNumberAssignment", TelephoneNumberStartsWith="+414455510", Top=2, Skip=1)
    outside = entry.run("Get-CsPhoneNumberAssignment", Filter="TelephoneNumber -like '*1900'")

    assert [one["TelephoneNumber"] for one in page] == ["+41445551001", "+41445551002"]
    assert outside[0]["PstnAssignmentStatus"] == "UserAssigned"
