"""The operations on users (user.ensure has a file of its own) by script: every request, every end, every undo."""

import pytest

from graph_adapter.domain.progress import LOST, Answer, Created
from support.graph_script import GRAPH, MISSING, NOW, Script, ok

RECENT = {"u1": Created("another", NOW)}


# user.observe ---------------------------------------------------------------------------------------------------------
OBSERVE = {"employee_id": "O'Hara-1", "upn_candidates": ["o.hara@n.example", "o.hara2@n.example"]}


def test_observe_asks_for_the_person_and_the_names_at_once() -> None:
    asks = Script("user.observe", OBSERVE).asks()
    assert asks == [
        "GET /users?$filter=employeeId eq 'O''Hara-1'&$select=id,userPrincipalName,employeeId,accountEnabled,"
        "displayName,usageLocation,assignedLicenses&$expand=manager($select=id)",
        "GET /users?$filter=userPrincipalName in ('o.hara@n.example','o.hara2@n.example')"
        "&$select=id,userPrincipalName,employeeId",
    ]


def test_observe_of_an_unknown_person_says_which_names_are_taken() -> None:
    script = Script("user.observe", OBSERVE)
    script.hears(ok({"value": []}), ok({"value": [{"userPrincipalName": "o.hara@n.example", "employeeId": None}]}))
    assert script.result.output == {"user": None, "taken": ["o.hara@n.example"]}
    assert not script.result.changed


def test_observe_of_a_known_person_adds_manager_and_groups_without_roles() -> None:
    person = {"id": "U1", "userPrincipalName": "o.hara@n.example", "employeeId": "O'Hara-1"}
    script = Script("user.observe", OBSERVE)
    script.hears(ok({"value": [person | {"manager": {"id": "M1"}}]}), ok({"value": [person]}))
    assert script.asks() == ["GET /users/U1/memberOf?$select=id&$top=999"]
    groups = [
        {"@odata.type": "#microsoft.graph.group", "id": "G1"},
        {"@odata.type": "#microsoft.graph.directoryRole", "id": "R1"},
    ]
    script.hears(ok({"value": groups}))
    assert script.result.output == {"user": person | {"manager_id": "M1", "group_ids": ["G1"]}, "taken": []}


# user.get -------------------------------------------------------------------------------------------------------------
def test_get_follows_pages_of_groups() -> None:
    script = Script("user.get", {"user": "U1"})
    page = {"value": [{"id": "G1"}], "@odata.nextLink": f"{GRAPH}/users/U1/memberOf?$skiptoken=abc"}
    script.hears(ok({"id": "U1", "manager": {"id": "M1"}}), ok(page))
    assert script.goes_on
    assert script.asks() == ["GET /users/U1/memberOf?$skiptoken=abc"]
    script.hears(ok({"value": [{"id": "G2"}]}))
    assert script.result.output == {"user": {"id": "U1"}, "manager_id": "M1", "group_ids": ["G1", "G2"]}


def test_a_next_page_elsewhere_is_never_followed() -> None:
    script = Script("user.get", {"user": "U1"})
    page = {"value": [], "@odata.nextLink": "https://evil.example/v1.0/users"}
    script.hears(ok({"id": "U1"}), ok(page))
    assert script.code == "internal"


def test_a_missing_user_is_refused_unless_we_made_it_just_now() -> None:
    script = Script("user.get", {"user": "U1"}).hears(MISSING, MISSING)
    assert script.question == ("u1",)
    script.is_told({})
    assert (script.code, script.result.outcome) == ("user-not-found", "refused")

    script = Script("user.get", {"user": "U1"}).hears(MISSING, MISSING).is_told(RECENT)
    assert script.wait.seconds > 0
    assert script.asks()[0].startswith("GET /users/U1?")


def test_the_wait_for_a_lagging_replica_is_bounded() -> None:
    script = Script("user.get", {"user": "U1"})
    for _ in range(50):
        script.hears(MISSING, MISSING).is_told(RECENT)
        if script.last.__class__.__name__ == "Finished":
            break
    assert script.code == "user-not-found"


# user.patch, user.delete ----------------------------------------------------------------------------------------------
def test_patch_writes_only_what_differs_and_can_be_undone() -> None:
    script = Script("user.patch", {"user_id": "U1", "attributes": {"city": "Bern", "department": "IT"}})
    assert script.asks() == ["GET /users/U1?$select=id,city,department"]
    script.hears(ok({"id": "U1", "city": "Basel", "department": "IT"}))
    assert script.body() == {"city": "Bern"}
    assert script.hears(ok()).undo == ("user.patch", {"user_id": "U1", "attributes": {"city": "Basel"}})


def test_patch_of_what_is_so_already_changes_nothing() -> None:
    script = Script("user.patch", {"user_id": "U1", "attributes": {"city": "Bern"}})
    assert not script.hears(ok({"id": "U1", "city": "Bern"})).result.changed


def test_delete_refuses_an_account_that_was_given_to_somebody_else() -> None:
    script = Script("user.delete", {"user_id": "U1", "employee_id": "NW-1"})
    assert script.hears(ok({"id": "U1", "employeeId": "NW-2"})).code == "employee-mismatch"


def test_delete_of_what_is_gone_changes_nothing() -> None:
    script = Script("user.delete", {"user_id": "U1", "employee_id": "NW-1"}).hears(MISSING).is_told({})
    assert not script.result.changed


def test_delete_of_a_user_made_just_now_waits_for_the_replica() -> None:
    script = Script("user.delete", {"user_id": "U1", "employee_id": "NW-1"}).hears(MISSING).is_told(RECENT)
    assert script.wait.seconds > 0


def test_delete_after_a_lost_answer_counts_as_done() -> None:
    script = Script("user.delete", {"user_id": "U1", "employee_id": "NW-1"})
    script.hears(ok({"id": "U1", "employeeId": "NW-1"}))
    assert script.asks() == ["DELETE /users/U1"]
    assert script.hears(Answer(LOST)).wait.seconds > 0
    assert script.hears(MISSING).is_told({}).result.changed


# user.set-manager, user.remove-manager --------------------------------------------------------------------------------
SET_MANAGER = {"user": "ada@n.example", "manager": "boss@n.example"}


def test_set_manager_resolves_both_and_remembers_the_former_one() -> None:
    script = Script("user.set-manager", SET_MANAGER)
    assert script.asks() == [
        "GET /users/ada@n.example?$select=id&$expand=manager($select=id)",
        "GET /users/boss@n.example?$select=id",
    ]
    script.hears(ok({"id": "U1", "manager": {"id": "M0"}}), ok({"id": "M1"}))
    assert script.asks() == ["PUT /users/U1/manager/$ref"]
    assert script.body() == {"@odata.id": f"{GRAPH}/users/M1"}
    script.hears(ok())
    assert script.result.output == {"former_manager_id": "M0"}
    assert script.undo == ("user.set-manager", {"user": "U1", "manager": "M0"})


def test_a_first_manager_is_undone_by_taking_it_away() -> None:
    script = Script("user.set-manager", SET_MANAGER).hears(ok({"id": "U1"}), ok({"id": "M1"})).hears(ok())
    assert script.undo == ("user.remove-manager", {"user": "U1"})


def test_the_same_manager_changes_nothing() -> None:
    script = Script("user.set-manager", SET_MANAGER).hears(ok({"id": "U1", "manager": {"id": "M1"}}), ok({"id": "M1"}))
    assert not script.result.changed


@pytest.mark.parametrize(
    ("user", "manager", "code"),
    [(MISSING, ok({"id": "M1"}), "user-not-found"), (ok({"id": "U1"}), MISSING, "manager-not-found")],
)
def test_it_says_which_of_the_two_is_missing(user: Answer, manager: Answer, code: str) -> None:
    assert Script("user.set-manager", SET_MANAGER).hears(user, manager).is_told({}).code == code


def test_remove_manager() -> None:
    script = Script("user.remove-manager", {"user": "U1"}).hears(ok({"id": "U1", "manager": {"id": "M1"}}))
    assert script.asks() == ["DELETE /users/U1/manager/$ref"]
    assert script.hears(ok()).undo == ("user.set-manager", {"user": "U1", "manager": "M1"})
    assert not Script("user.remove-manager", {"user": "U1"}).hears(ok({"id": "U1"})).result.changed
