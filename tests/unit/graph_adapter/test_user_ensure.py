"""user.ensure by script: create first; look on a conflict or a lost answer; adopt, correct, or refuse."""

import pytest

from graph_adapter.domain.progress import LOST, NOT_SENT, Answer, Created
from support.graph_script import MISSING, NOW, OPERATION_ID, UPN_TAKEN, Script, error, ok

UPN = "ada.lovelace@northwind.example"
PARAMS = {
    "user_principal_name": UPN,
    "employee_id": "NW-1",
    "attributes": {"displayName": "Ada Lovelace", "mailNickname": "ada.lovelace", "usageLocation": "CH"},
}
LOOK = (
    f"GET /users/{UPN}?$select=id,userPrincipalName,employeeId,createdDateTime,displayName,mailNickname,usageLocation"
)
USER = {
    "id": "U1",
    "userPrincipalName": UPN,
    "employeeId": "NW-1",
    "createdDateTime": "2026-11-30T08:00:00Z",
    "displayName": "Ada Lovelace",
    "mailNickname": "ada.lovelace",
    "usageLocation": "CH",
}
OLD = USER | {"createdDateTime": "2020-01-01T00:00:00Z"}
DELETE = ("user.delete", {"user_id": "U1", "employee_id": "NW-1"})


def test_a_new_user_is_created_with_a_password_nobody_else_sees() -> None:
    script = Script("user.ensure", PARAMS)
    assert script.asks() == ["POST /users"]
    body = script.body()
    assert body | {"passwordProfile": None} == PARAMS["attributes"] | {
        "accountEnabled": True,
        "userPrincipalName": UPN,
        "employeeId": "NW-1",
        "passwordProfile": None,
    }
    password = body["passwordProfile"]["password"]
    assert body["passwordProfile"]["forceChangePasswordNextSignIn"] is True
    assert script.body()["passwordProfile"]["password"] != password
    script.hears(ok({"id": "U1", "userPrincipalName": UPN}, 201))
    assert script.result.changed
    assert script.result.output == {"user_id": "U1", "user_principal_name": UPN, "created": True}
    assert script.undo == DELETE
    assert script.result.created == ("u1", UPN)
    assert password not in str(script.progress.dump())


ADDRESS_TAKEN = error(
    400,
    "Another object with the same value for property proxyAddresses already exists.",
    details=[{"code": "ObjectConflict", "target": "proxyAddresses"}],
)


def test_a_deleted_account_of_the_same_employee_comes_back_with_todays_attributes() -> None:
    script = Script("user.ensure", PARAMS).hears(ADDRESS_TAKEN)
    assert script.asks()[0].startswith("GET /directory/deletedItems/microsoft.graph.user")
    script.hears(ok({"value": [{"id": "U9", "employeeId": "NW-9"}, {"id": "U1", "employeeId": "NW-1"}]}))
    assert script.asks() == ["POST /directory/deletedItems/U1/restore"]
    script.hears(ok({"id": "U1"}))
    assert script.asks() == ["PATCH /users/U1"]
    assert script.body()["userPrincipalName"] == UPN
    script.hears(Answer(204, None))
    assert script.result.output == {"user_id": "U1", "user_principal_name": UPN, "created": True}
    assert script.undo == DELETE


def restoring() -> Script:
    script = Script("user.ensure", PARAMS).hears(ADDRESS_TAKEN)
    return script.hears(ok({"value": [{"id": "U1", "employeeId": "NW-1"}]}))


@pytest.mark.parametrize("answer", [Answer(LOST), error(503)])
def test_a_restore_nobody_confirmed_is_asked_for_again(answer: Answer) -> None:
    script = restoring().hears(answer)
    assert script.wait.seconds > 0
    assert script.asks() == ["POST /directory/deletedItems/U1/restore"]
    # The first request had arrived after all.
    assert script.hears(MISSING).asks() == ["PATCH /users/U1"]
    script.hears(Answer(LOST))
    assert script.asks() == ["PATCH /users/U1"]
    assert script.hears(ok()).undo == DELETE


def test_an_interrupted_restore_goes_on_where_it_was() -> None:
    memory = restoring().progress.dump()
    script = Script("user.ensure", PARAMS, progress=memory, interrupted=True)
    assert script.asks() == ["POST /directory/deletedItems/U1/restore"]
    assert script.hears(MISSING).hears(ok()).undo == DELETE


def test_a_deleted_account_of_somebody_else_is_left_alone() -> None:
    script = Script("user.ensure", PARAMS).hears(ADDRESS_TAKEN)
    script.hears(ok({"value": [{"id": "U9", "employeeId": "NW-9"}]}))
    assert (script.code, script.result.outcome) == ("address-taken", "refused")


def test_the_same_employee_is_adopted_unchanged() -> None:
    script = Script("user.ensure", PARAMS).hears(UPN_TAKEN)
    assert script.goes_on
    assert script.asks() == [LOOK]
    script.hears(ok(OLD))
    assert not script.result.changed
    assert script.result.output["created"] is False
    assert script.undo is None


def test_a_user_made_a_moment_ago_by_another_operation_is_not_ours() -> None:
    script = Script("user.ensure", PARAMS).hears(UPN_TAKEN).hears(ok(USER))
    assert not script.result.changed


def test_an_adopted_user_is_corrected_and_the_former_values_are_kept_for_undo() -> None:
    found = OLD | {"displayName": "Ada Byron", "usageLocation": None}
    script = Script("user.ensure", PARAMS).hears(UPN_TAKEN).hears(ok(found))
    assert script.goes_on
    assert script.progress.dirty
    assert script.asks() == ["PATCH /users/U1"]
    assert script.body() == {"displayName": "Ada Lovelace", "usageLocation": "CH"}
    script.hears(ok())
    # A usage location cannot be taken away again.
    assert script.undo == ("user.patch", {"user_id": "U1", "attributes": {"displayName": "Ada Byron"}})


def test_somebody_elses_name_is_refused() -> None:
    script = Script("user.ensure", PARAMS).hears(UPN_TAKEN).hears(ok(OLD | {"employeeId": "NW-2"}))
    assert script.code == "upn-taken"
    assert script.result.outcome == "refused"


@pytest.mark.parametrize("employee_id", [None, ""])
def test_an_account_without_employee_id_is_somebody_elses(employee_id: str | None) -> None:
    script = Script("user.ensure", PARAMS).hears(UPN_TAKEN).hears(ok(OLD | {"employeeId": employee_id}))
    assert script.code == "upn-taken"


UNCERTAIN = {
    "connection lost": Answer(LOST),
    "throttled but perhaps done": error(429, "Too many requests.", "TooManyRequests", after=7),
    "service unavailable": error(503, "", "serviceNotAvailable"),
    "gateway timeout": error(504, "", "GatewayTimeout"),
}


@pytest.mark.parametrize("answer", UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_after_an_unclear_answer_it_looks_before_it_acts_again(answer: Answer) -> None:
    script = Script("user.ensure", PARAMS).hears(answer)
    assert script.progress.uncertain
    assert script.asks() == [LOOK]


def test_a_throttled_creation_waits_as_long_as_it_was_told() -> None:
    wait = Script("user.ensure", PARAMS).hears(UNCERTAIN["throttled but perhaps done"]).wait
    assert (wait.seconds, wait.throttled) == (7, True)
    assert wait.result.error is not None
    assert wait.result.error.code == "throttled"


def test_throttling_wears_out_no_patience() -> None:
    script = Script("user.ensure", PARAMS)
    for _ in range(100):
        assert script.hears(UNCERTAIN["throttled but perhaps done"]).wait.throttled
        assert script.asks() == [LOOK]
        assert script.hears(MISSING).wait.result.error.code == "ambiguous"
        assert script.asks() == ["POST /users"]
    assert script.hears(ok(USER, 201)).undo == DELETE


def test_an_account_that_nobody_confirmed_is_not_called_taken() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(LOST))
    while script.hears(MISSING).last.__class__.__name__ == "Wait":
        assert script.asks() == ["POST /users"]
        script.hears(Answer(LOST))
    assert (script.result.outcome, script.code, script.result.error.retryable) == ("failed", "ambiguous", True)


def test_what_the_lost_request_created_is_ours_to_undo() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(LOST)).hears(ok(USER))
    assert script.asks() == ["LEDGER u1"]
    script.is_told({})
    assert script.result.changed
    assert script.result.output["created"] is True
    assert script.undo == DELETE


def test_an_old_account_is_not_ours_even_after_a_lost_answer() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(LOST)).hears(ok(OLD))
    assert not script.result.changed


def test_a_fresh_account_that_another_operation_made_is_not_ours() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(LOST)).hears(ok(USER))
    script.asks()
    script.is_told({"u1": Created("another", NOW)})
    assert not script.result.changed
    assert script.undo is None


def test_a_repetition_of_ourselves_is_still_ours() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(LOST)).hears(ok(USER))
    script.asks()
    script.is_told({"u1": Created(str(OPERATION_ID), NOW)})
    assert script.undo == DELETE


def test_not_created_after_all_means_creating_again_after_a_pause() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(LOST)).hears(MISSING)
    assert script.wait.seconds > 0
    assert script.asks() == ["POST /users"]


def test_a_request_that_never_left_is_simply_repeated() -> None:
    script = Script("user.ensure", PARAMS).hears(Answer(NOT_SENT))
    assert script.wait.seconds > 0
    assert not script.progress.uncertain
    assert script.asks() == ["POST /users"]


def test_a_taken_name_that_cannot_be_read_is_refused_in_the_end() -> None:
    script = Script("user.ensure", PARAMS).hears(UPN_TAKEN)
    while script.hears(MISSING).last.__class__.__name__ == "Wait":
        assert script.asks() == [LOOK]
    assert script.code == "upn-taken"


def test_an_interrupted_operation_looks_first() -> None:
    script = Script("user.ensure", PARAMS, interrupted=True)
    assert script.asks() == [LOOK]
    script.hears(ok(USER))
    script.asks()
    assert script.is_told({}).undo == DELETE


def test_it_goes_on_where_its_memory_left_it() -> None:
    before = Script("user.ensure", PARAMS).hears(UPN_TAKEN).hears(ok(OLD | {"displayName": "X"}))
    after = Script("user.ensure", PARAMS, progress=before.progress.dump(), interrupted=True)
    assert after.asks() == ["PATCH /users/U1"]
    assert after.hears(ok()).undo == ("user.patch", {"user_id": "U1", "attributes": {"displayName": "X"}})


def test_it_does_not_go_in_circles_for_ever() -> None:
    script = Script("user.ensure", PARAMS)
    for _ in range(100):
        script.hears(Answer(LOST))
        if script.last.__class__.__name__ == "Finished":
            break
        script.hears(MISSING)
        if script.last.__class__.__name__ == "Finished":
            break
    assert script.result.outcome in {"failed", "refused"}


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [
        (error(400, "The domain portion of the userPrincipalName property is invalid."), "domain-invalid", "refused"),
        (error(403, "Insufficient privileges to complete the operation."), "permission-missing", "refused"),
        (error(400, "Something new."), "rejected", "failed"),
        (Answer(418, "not even an object"), "rejected", "failed"),
    ],
)  # fmt: skip
def test_other_errors_end_as_the_table_says(answer: Answer, code: str, outcome: str) -> None:
    script = Script("user.ensure", PARAMS).hears(answer)
    assert (script.code, script.result.outcome) == (code, outcome)
