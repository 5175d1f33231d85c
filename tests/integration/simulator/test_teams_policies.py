"""The Teams policy cmdlets, over every way in."""

import uuid

import pytest

from support.cmdlet_entry import E5, Entry


@pytest.mark.parametrize(
    ("policy_type", "name"),
    [
        ("TeamsCallingPolicy", "AllowCalling"),
        ("TeamsMeetingPolicy", "AllOn"),
        ("TenantDialPlan", "Zurich"),
        ("OnlineVoiceRoutingPolicy", "CH"),
        ("TeamsAppSetupPolicy", "FirstLineWorker"),
    ],
)
def test_a_grant_shows_in_the_user_and_null_takes_it_back(entry: Entry, policy_type: str, name: str) -> None:
    _, upn = entry.user(E5)

    assert entry.run(f"Grant-Cs{policy_type}", Identity=upn, PolicyName=name) == []
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0][policy_type]["Name"] == name
    assigned = entry.run("Get-CsUserPolicyAssignment", Identity=upn)
    assert [(one["PolicyType"], one["PolicyName"]) for one in assigned] == [(policy_type, name)]
    entry.run(f"Grant-Cs{policy_type}", Identity=upn, PolicyName=None)
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0][policy_type] is None


def test_unknown_policies_and_users_are_named(entry: Entry) -> None:
    _, upn = entry.user(E5)

    policy = entry.fails("Grant-CsTeamsCallingPolicy", Identity=upn, PolicyName="Nope")
    person = entry.fails("Grant-CsTeamsCallingPolicy", Identity="nobody@x.y", PolicyName="AllowCalling")

    assert policy["message"] == (
        'Policy "Nope" is not a user policy. You can assign only a user policy to a specific user.'
    )
    assert policy["fqid"] == "ClientError,Microsoft.Teams.ConfigApi.Cmdlets.GrantCsTeamsCallingPolicy"
    assert person["message"] == 'Management object not found for identity "nobody@x.y".'


def test_a_new_policy_cannot_be_granted_at_once_and_a_grant_shows_later(entry: Entry) -> None:
    _, upn = entry.user(E5)
    name = f"Fresh{uuid.uuid4().hex[:6]}"
    entry.tenant.turn(policy_visibility_seconds=120, grant_effect_seconds=30)
    try:
        with entry.tenant.simulator.admin() as admin:
            made = admin.post(
                f"/_sim/tenants/{entry.tenant.tenant_id}/policies", json={"type": "TeamsCallingPolicy", "name": name}
            )
            assert made.status_code == 201
        assert (
            "is not a user policy"
            in entry.fails("Grant-CsTeamsCallingPolicy", Identity=upn, PolicyName=name)["message"]
        )
        entry.tenant.advance(121)
        entry.run("Grant-CsTeamsCallingPolicy", Identity=upn, PolicyName=name)
        assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["TeamsCallingPolicy"] is None
        entry.tenant.advance(31)
        assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["TeamsCallingPolicy"]["Name"] == name
    finally:
        entry.tenant.turn(policy_visibility_seconds=0, grant_effect_seconds=0)


def test_policies_are_listed_with_their_tag(entry: Entry) -> None:
    names = [one["Identity"] for one in entry.run("Get-CsTeamsCallingPolicy")]

    assert len([one for one in names if "Fresh" not in one]) == 5
    assert names[0] == "Global"
    assert entry.run("Get-CsTeamsCallingPolicy", Identity="AllowCalling")[0]["Identity"] == "Tag:AllowCalling"
