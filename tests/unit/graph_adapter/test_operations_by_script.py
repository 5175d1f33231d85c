"""Groups, licences, the tenant and its app registration by script: every request, every end, every undo."""

from typing import Any

import pytest

from graph_adapter.domain.progress import LOST, Answer
from support.graph_script import ALREADY_MEMBER, GRAPH, MISSING, TENANT, Script, error, ok

# groups ---------------------------------------------------------------------------------------------------------------
MEMBER = {"group_id": "G1", "user_id": "U1"}


def test_add_member() -> None:
    script = Script("group.add-member", MEMBER)
    assert script.asks() == ["POST /groups/G1/members/$ref"]
    assert script.body() == {"@odata.id": f"{GRAPH}/directoryObjects/U1"}
    assert script.hears(ok()).undo == ("group.remove-member", MEMBER)


def test_a_member_already_changes_nothing() -> None:
    script = Script("group.add-member", MEMBER).hears(ALREADY_MEMBER)
    assert not script.result.changed
    assert script.undo is None


@pytest.mark.parametrize("answer", [Answer(LOST), error(503), error(429)])
def test_a_member_already_after_an_unclear_answer_is_our_doing(answer: Answer) -> None:
    script = Script("group.add-member", MEMBER).hears(answer).hears(ALREADY_MEMBER)
    assert script.result.changed
    assert script.undo == ("group.remove-member", MEMBER)


def test_a_group_of_exchange_is_refused_with_the_way_out() -> None:
    message = "Cannot Update a mail-enabled security groups and or distribution list."
    script = Script("group.add-member", MEMBER).hears(error(400, message))
    assert script.code == "group-not-writable"


def test_remove_member_never_forgets_the_reference() -> None:
    script = Script("group.remove-member", MEMBER)
    assert script.asks() == ["DELETE /groups/G1/members/U1/$ref"]
    assert script.hears(ok()).undo == ("group.add-member", MEMBER)
    assert not Script("group.remove-member", MEMBER).hears(MISSING).is_told({}).result.changed


@pytest.mark.parametrize("user_id", ["", " ", "..", "."])
def test_an_empty_id_never_becomes_a_path(user_id: str) -> None:
    script = Script("group.remove-member", {"group_id": "G1", "user_id": user_id})
    with pytest.raises(ValueError, match="must be text that is not empty"):
        script.asks()


def test_an_id_cannot_leave_its_segment() -> None:
    script = Script("user.delete", {"user_id": "../groups/G1?$x=#", "employee_id": "1"})
    (request,) = script.machine.ask(script.progress)  # type: ignore[misc]
    assert request.url == "/users/..%2Fgroups%2FG1%3F%24x%3D%23?$select=id,employeeId,userPrincipalName"


# licences -------------------------------------------------------------------------------------------------------------
def licences(*held: Any) -> Answer:
    return ok({"id": "U1", "assignedLicenses": list(held)})


def test_assign_adds_replaces_and_removes_in_one_call() -> None:
    script = Script(
        "licence.assign",
        {
            "user_id": "U1",
            "add": [{"skuId": "A", "disabledPlans": ["p2", "p1"]}, {"skuId": "B"}, {"skuId": "C", "disabledPlans": []}],
            "remove": ["D", "E"],
        },
    )
    script.hears(
        licences(
            {"skuId": "A", "disabledPlans": ["p1"]},
            {"skuId": "C", "disabledPlans": []},
            {"skuId": "D", "disabledPlans": ["p9"]},
        )
    )
    assert script.asks() == ["POST /users/U1/assignLicense"]
    assert script.body() == {
        "addLicenses": [{"skuId": "A", "disabledPlans": ["p1", "p2"]}, {"skuId": "B", "disabledPlans": []}],
        "removeLicenses": ["D"],
    }
    assert script.hears(ok({})).undo == (
        "licence.assign",
        {
            "user_id": "U1",
            "add": [{"skuId": "A", "disabledPlans": ["p1"]}, {"skuId": "D", "disabledPlans": ["p9"]}],
            "remove": ["B"],
        },
    )


def test_licences_held_already_change_nothing() -> None:
    params = {"user_id": "U1", "add": [{"skuId": "A", "disabledPlans": ["p1"]}], "remove": ["Z"]}
    assert not Script("licence.assign", params).hears(licences({"skuId": "A", "disabledPlans": ["p1"]})).result.changed


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Subscription with SKU x does not have any available licenses.", "no-seats"),
        ("License assignment cannot be done for user with invalid usage location.", "usage-location-missing"),
        ("License assignment failed because service plans a, b are mutually exclusive.", "plan-conflict"),
        ("License assignment failed because service plan a depends on the service plan(s) b, c", "plan-dependency"),
        ("User license is inherited from a group membership and it cannot be removed directly from the user.",
         "licence-inherited"),
        ("Unable to update the specified properties for on-premises mastered Directory Sync objects or objects "
         "currently undergoing migration.", "on-premises-mastered"),
    ],
)  # fmt: skip
def test_why_licences_are_refused(message: str, code: str) -> None:
    script = Script("licence.assign", {"user_id": "U1", "add": [{"skuId": "A"}]}).hears(licences())
    script.hears(error(400, message))
    assert (script.code, script.result.outcome) == (code, "refused")
    assert script.result.error is not None
    assert script.result.error.remedy


def test_a_lost_assignment_is_repeated_with_the_same_plans_and_the_same_undo() -> None:
    script = Script("licence.assign", {"user_id": "U1", "add": [{"skuId": "A"}], "remove": ["B"]})
    script.hears(licences({"skuId": "B", "disabledPlans": []})).hears(Answer(LOST))
    assert script.wait.seconds > 0
    resumed = Script("licence.assign", script.progress.leased.command.params, progress=script.progress.dump())
    assert resumed.asks() == ["POST /users/U1/assignLicense"]
    # The removal was carried out the first time.
    resumed.hears(error(400, "User does not have a corresponding license"))
    assert resumed.asks() == ["GET /users/U1?$select=id,assignedLicenses"]
    resumed.hears(licences({"skuId": "A", "disabledPlans": []}))
    assert resumed.undo == (
        "licence.assign",
        {"user_id": "U1", "add": [{"skuId": "B", "disabledPlans": []}], "remove": ["A"]},
    )


# tenant ---------------------------------------------------------------------------------------------------------------
ORGANIZATION = ok({"value": [{"id": TENANT, "displayName": "Northwind", "verifiedDomains": [{"name": "n.example"}]}]})


def test_observe_tenant_leaves_out_what_it_may_not_read() -> None:
    script = Script("tenant.observe", {}, roles=frozenset({"Organization.Read.All", "Group.Create"}))
    assert script.asks() == [
        "GET /organization?$select=id,displayName,verifiedDomains",
        "GET /subscribedSkus",
    ]
    sku = {
        "skuId": "A",
        "skuPartNumber": "SPE_E5",
        "capabilityStatus": "Enabled",
        "consumedUnits": 3,
        "prepaidUnits": {"enabled": 25, "warning": 1},
        "servicePlans": [{"servicePlanId": "p1", "servicePlanName": "MCOEV", "provisioningStatus": "Success"}],
    }
    script.hears(organization=ORGANIZATION, skus=ok({"value": [sku]}))
    output = script.result.output
    assert output["organization"]["id"] == TENANT
    assert output["skus"] == [
        {
            "skuId": "A",
            "skuPartNumber": "SPE_E5",
            "capabilityStatus": "Enabled",
            "enabled": 25,
            "warning": 1,
            "consumed": 3,
            "servicePlans": [{"servicePlanId": "p1", "servicePlanName": "MCOEV"}],
        }
    ]
    assert output["groups"] == []
    assert output["unreadable"] == ["groups"]
    assert output["capabilities"]["user.ensure"] == {"allowed": False, "missing": ["User.ReadWrite.All"]}


def test_probe_tells_the_roles_and_refuses_another_tenant() -> None:
    roles = frozenset({"User.ReadWrite.All", "Organization.Read.All"})
    script = Script("tenant.probe", {}, roles=roles).hears(ORGANIZATION)
    assert script.result.output == {"tenant_id": TENANT, "roles": sorted(roles)}
    script = Script("tenant.probe", {}).hears(ok({"value": [{"id": "22222222-2222-4222-8222-222222222222"}]}))
    assert (script.code, script.result.outcome) == ("tenant-mismatch", "failed")


# applications ---------------------------------------------------------------------------------------------------------
KEYS = [{"keyId": "K1", "key": "AAAA", "displayName": "one"}]
ADD_KEY = {"application_object_id": "A1", "certificate": "BBBB", "display_name": "two"}


def test_add_key_keeps_the_keys_that_are_there() -> None:
    script = Script("application.add-key", ADD_KEY).hears(ok({"id": "A1", "keyCredentials": KEYS}))
    assert script.asks() == ["PATCH /applications/A1"]
    added = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": "BBBB", "displayName": "two"}
    assert script.body() == {"keyCredentials": [*KEYS, added]}
    script.hears(ok())
    assert script.asks() == ["GET /applications/A1?$select=id,keyCredentials"]
    script.hears(ok({"id": "A1", "keyCredentials": [*KEYS, {"keyId": "K2", "key": "BBBB"}]}))
    assert script.result.output == {"key_id": "K2"}
    assert script.undo == ("application.remove-key", {"application_object_id": "A1", "key_id": "K2"})


def test_a_key_registered_already_changes_nothing() -> None:
    script = Script("application.add-key", ADD_KEY | {"certificate": "AAAA"})
    assert script.hears(ok({"id": "A1", "keyCredentials": KEYS})).result.output == {"key_id": "K1"}


def test_remove_key_guards_the_last_credential() -> None:
    params = {"application_object_id": "A1", "key_id": "K1"}
    last = {"id": "A1", "keyCredentials": KEYS, "passwordCredentials": []}
    assert Script("application.remove-key", params).hears(ok(last)).code == "last-credential"
    script = Script("application.remove-key", params).hears(ok(last | {"passwordCredentials": [{"keyId": "S1"}]}))
    assert script.body() == {"keyCredentials": []}
    assert script.hears(ok()).undo == (
        "application.add-key",
        {"application_object_id": "A1", "certificate": "AAAA", "display_name": "one"},
    )
