"""Users, groups, licences and $batch over real TLS, with the answers the Graph adapter has to live with."""

import time
import uuid
from typing import Any

import httpx
import pytest

from support.simulated import Simulator, Tenant, install, tenant_spec

E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
E3 = "05e9a617-0261-4cee-bb44-138d3ef5d965"
MCOEV_SKU = "e43b5b99-8dfb-405f-9987-dc307f34bcbd"
MCOSTANDARD = "0feaeb32-d00e-4d66-bd5a-43b5b83db82c"
MCOEV = "4828c8ec-dc2e-4779-b502-87ac9ce28ab7"
EXCHANGE_STANDARD_SKU = "4b9405b0-7788-4568-add1-99614e613b69"


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def message_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


def create(graph: httpx.Client, tenant: Tenant, local: str, **properties: object) -> str:
    answer = graph.post("/users", json=tenant.user_body(local, **properties))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def assign(
    graph: httpx.Client, user: str, *add: str, remove: tuple[str, ...] = (), **disabled: list[str]
) -> httpx.Response:
    body = {
        "addLicenses": [{"skuId": sku, "disabledPlans": disabled.get("disabled", [])} for sku in add],
        "removeLicenses": list(remove),
    }
    return graph.post(f"/users/{user}/assignLicense", json=body)


# -- users ------------------------------------------------------------------------------------------------------------


def test_a_created_user_shows_the_default_properties_and_more_only_by_select(tenant: Tenant) -> None:
    graph = tenant.graph()
    user_id = create(graph, tenant, "adele", employeeId="NW-1", department="IT")

    plain = graph.get(f"/users/adele@{tenant.domain}").json()
    chosen = graph.get(f"/users/{user_id}", params={"$select": "id,employeeId,department,assignedLicenses"}).json()

    assert plain["id"] == user_id
    assert "employeeId" not in plain
    assert "passwordProfile" not in plain
    assert (chosen["employeeId"], chosen["department"], chosen["assignedLicenses"]) == ("NW-1", "IT", [])
    assert chosen["@odata.context"].endswith("#users(id,employeeId,department,assignedLicenses)/$entity")


def test_every_answer_carries_request_ids(tenant: Tenant) -> None:
    graph = tenant.graph()
    mine = str(uuid.uuid4())

    answer = graph.get("/users/nobody", headers={"client-request-id": mine})

    assert code_of(answer) == (404, "Request_ResourceNotFound")
    assert answer.headers["client-request-id"] == mine
    assert answer.json()["error"]["innerError"]["request-id"] == answer.headers["request-id"]
    assert "x-ms-ags-diagnostic" in answer.headers


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"userPrincipalName": "a@unverified.example"},
            "The domain portion of the userPrincipalName property is invalid",
        ),
        ({"userPrincipalName": "nodomain"}, "The domain portion of the userPrincipalName property is invalid"),
        ({"displayName": None}, "A value is required for property 'displayName'"),
        ({"passwordProfile": {"password": "short"}}, "does not comply with password complexity requirements"),
        ({"accountEnabled": "yes"}, "Property 'accountEnabled' in payload has a value that does not match schema."),
        ({"favouriteColour": "red"}, "Invalid property 'favouriteColour'."),
        ({"proxyAddresses": ["smtp:a@b.c"]}, "Property 'proxyAddresses' is read-only"),
        ({"businessPhones": ["1", "2"]}, "at most one value"),
        ({"usageLocation": "Switzerland"}, "Property usageLocation is invalid."),
        ({"employeeId": "x" * 17}, "longer than 16"),
    ],
)
def test_a_wrong_property_is_a_400_with_the_services_words(tenant: Tenant, change: dict[str, Any], text: str) -> None:
    answer = tenant.graph().post("/users", json={**tenant.user_body("adele"), **change})

    assert code_of(answer) == (400, "Request_BadRequest")
    assert text in message_of(answer)
    assert tenant.state("users") == []


def test_a_taken_name_is_a_conflict_with_details(tenant: Tenant) -> None:
    graph = tenant.graph()
    create(graph, tenant, "adele")

    answer = graph.post("/users", json=tenant.user_body("adele"))

    assert message_of(answer) == "Another object with the same value for property userPrincipalName already exists."
    assert answer.json()["error"]["details"][0]["code"] == "ObjectConflict"


def test_patch_changes_only_what_is_named_and_null_unsets(tenant: Tenant) -> None:
    graph = tenant.graph()
    user_id = create(graph, tenant, "adele", jobTitle="Clerk", department="IT")

    assert graph.patch(f"/users/{user_id}", json={"jobTitle": None, "city": "Bern"}).status_code == 204

    user = tenant.state("users")[0]
    assert (user["jobTitle"], user["city"], user["department"]) == (None, "Bern", "IT")


def test_a_deleted_user_gives_back_everything_and_can_be_restored(tenant: Tenant) -> None:
    graph = tenant.graph()
    user_id = create(graph, tenant, "adele")
    assert assign(graph, user_id, E5).status_code == 200

    assert graph.delete(f"/users/{user_id}").status_code == 204
    seats = {sku["skuPartNumber"]: sku["consumed"] for sku in tenant.state("skus")}
    deleted = graph.get("/directory/deletedItems/microsoft.graph.user").json()["value"]

    assert seats["SPE_E5"] == 0
    assert [one["id"] for one in deleted] == [user_id]
    assert graph.get(f"/users/{user_id}").status_code == 404
    assert graph.post(f"/directory/deletedItems/{user_id}/restore").status_code == 200
    assert graph.get(f"/users/{user_id}").status_code == 200


def test_manager_is_set_read_and_removed_by_reference(tenant: Tenant) -> None:
    graph = tenant.graph()
    boss, worker = create(graph, tenant, "boss"), create(graph, tenant, "worker")

    assert code_of(graph.get(f"/users/{worker}/manager")) == (404, "Request_ResourceNotFound")
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/users/{boss}"}
    assert graph.put(f"/users/{worker}/manager/$ref", json=reference).status_code == 204
    assert graph.get(f"/users/{worker}/manager").json()["id"] == boss
    expanded = graph.get(f"/users/{worker}", params={"$expand": "manager"}).json()
    assert expanded["manager"]["userPrincipalName"] == f"boss@{tenant.domain}"
    assert graph.delete(f"/users/{worker}/manager/$ref").status_code == 204
    assert graph.get(f"/users/{worker}/manager").status_code == 404


# -- lists ------------------------------------------------------------------------------------------------------------


def test_lists_page_by_an_opaque_token_until_the_end(tenant: Tenant) -> None:
    graph = tenant.graph()
    for index in range(25):
        create(graph, tenant, f"user{index:02}")

    seen: list[str] = []
    url = "/users?$select=userPrincipalName&$top=10"
    pages = 0
    while url:
        body = graph.get(url).json()
        seen += [one["userPrincipalName"] for one in body["value"]]
        url = body.get("@odata.nextLink", "")
        pages += 1

    assert pages == 3
    assert seen == [f"user{index:02}@{tenant.domain}" for index in range(25)]


def test_filters_find_by_equality_prefix_and_list(tenant: Tenant) -> None:
    graph = tenant.graph()
    for number, name in enumerate(("adele", "alex", "o'brien")):
        create(graph, tenant, name, employeeId=f"NW-{number}", accountEnabled=number != 1)

    def found(text: str, **headers: str) -> list[str]:
        answer = graph.get("/users", params={"$filter": text, "$count": "true"}, headers=headers)
        assert answer.status_code == 200, answer.text
        return [one["displayName"] for one in answer.json()["value"]]

    assert found("employeeId eq 'nw-1'") == ["Alex"]
    assert found("startswith(displayName,'A') and accountEnabled eq true") == ["Adele"]
    assert found("employeeId in ('NW-0', 'NW-2')") == ["Adele", "O'Brien"]
    assert found("displayName eq 'O''Brien'") == ["O'Brien"]
    assert found("not(accountEnabled eq false)", ConsistencyLevel="eventual") == ["Adele", "O'Brien"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"$filter": "displayName ne 'a'"}, "Request_UnsupportedQuery"),
        ({"$filter": "endswith(userPrincipalName,'x')"}, "Request_UnsupportedQuery"),
        ({"$filter": "displayName eq"}, "BadRequest"),
        ({"$filter": "colour eq 'red'"}, "BadRequest"),
        ({"$select": "colour"}, "BadRequest"),
        ({"$top": "1000"}, "Request_BadRequest"),
        ({"$skiptoken": "garbage"}, "Directory_ExpiredPageToken"),
    ],
)
def test_a_query_graph_would_refuse_is_refused(tenant: Tenant, params: dict[str, str], code: str) -> None:
    assert code_of(tenant.graph().get("/users", params=params)) == (400, code)


# -- replication ------------------------------------------------------------------------------------------------------


def test_a_fresh_user_is_missing_until_its_lag_has_passed(tenant: Tenant) -> None:
    tenant.turn(replica_lag_seconds=5, replica_miss_probability=1, reference_lag_seconds=5, index_lag_seconds=10)
    graph = tenant.graph()
    user_id = create(graph, tenant, "adele", employeeId="NW-1")
    listed = {"$filter": "employeeId eq 'NW-1'"}

    assert graph.get(f"/users/{user_id}").status_code == 404
    assert assign(graph, user_id, E5).status_code == 404
    assert graph.post("/users", json=tenant.user_body("adele")).status_code == 400  # the primary knows it already
    tenant.advance(6)
    assert graph.get(f"/users/{user_id}").status_code == 200
    assert assign(graph, user_id, E5).status_code == 200
    assert graph.get("/users", params=listed).json()["value"] == []
    tenant.advance(5)
    assert len(graph.get("/users", params=listed).json()["value"]) == 1


def test_a_change_reaches_lists_later_than_reads_by_id(tenant: Tenant) -> None:
    graph = tenant.graph()
    user_id = create(graph, tenant, "adele", city="Bern")
    tenant.turn(index_lag_seconds=10)

    graph.patch(f"/users/{user_id}", json={"city": "Basel"})

    assert graph.get(f"/users/{user_id}?$select=city").json()["city"] == "Basel"
    assert [one["city"] for one in graph.get("/users?$select=city").json()["value"]] == ["Bern"]
    tenant.advance(11)
    assert [one["city"] for one in graph.get("/users?$select=city").json()["value"]] == ["Basel"]


# -- groups -----------------------------------------------------------------------------------------------------------


def test_membership_by_reference_with_the_services_idempotency_errors(tenant: Tenant) -> None:
    graph = tenant.graph()
    groups = {one["displayName"]: one["id"] for one in graph.get("/groups").json()["value"]}
    user_id = create(graph, tenant, "adele")
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{user_id}"}
    members = f"/groups/{groups['All staff']}/members"

    assert graph.post(f"{members}/$ref", json=reference).status_code == 204
    again = graph.post(f"{members}/$ref", json=reference)
    assert message_of(again).startswith("One or more added object references already exist")
    assert [one["id"] for one in graph.get(members).json()["value"]] == [user_id]
    assert [one["displayName"] for one in graph.get(f"/users/{user_id}/memberOf").json()["value"]] == ["All staff"]
    assert graph.delete(f"{members}/{user_id}/$ref").status_code == 204
    assert code_of(graph.delete(f"{members}/{user_id}/$ref")) == (404, "Request_ResourceNotFound")
    for name in ("Dynamic", "Synced"):
        assert graph.post(f"/groups/{groups[name]}/members/$ref", json=reference).status_code == 400


# -- licences ---------------------------------------------------------------------------------------------------------


def test_the_last_seat_goes_to_one_only(tenant: Tenant) -> None:
    graph = tenant.graph()
    users = [create(graph, tenant, f"user{index}") for index in range(4)]

    answers = [assign(graph, user, E5) for user in users]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 400]
    assert message_of(answers[3]) == f"Subscription with SKU {E5} does not have any available licenses."
    assert next(sku for sku in tenant.state("skus") if sku["skuPartNumber"] == "SPE_E5")["consumed"] == 3


def test_licence_rules_speak_the_services_words(tenant: Tenant) -> None:
    graph = tenant.graph()
    nowhere = create(graph, tenant, "nowhere", usageLocation=None)
    user = create(graph, tenant, "adele")

    assert message_of(assign(graph, nowhere, E5)) == (
        "License assignment cannot be done for user with invalid usage location."
    )
    assert "are mutually exclusive" in message_of(assign(graph, user, E5, EXCHANGE_STANDARD_SKU))
    assert f"service plan {MCOEV} depends on the service plan(s) {MCOSTANDARD}" in message_of(
        assign(graph, user, MCOEV_SKU)
    )
    assert message_of(assign(graph, user, remove=(E5,))) == "User does not have a corresponding license."
    assert "does not correspond to a valid company License" in message_of(assign(graph, user, str(uuid.UUID(int=7))))
    assert graph.post(f"/users/{user}/assignLicense", json={"addLicenses": []}).status_code == 400
    assert tenant.state("skus")[0]["consumed"] == 0


def test_assigning_again_with_other_plans_replaces_the_set(tenant: Tenant) -> None:
    graph = tenant.graph()
    user = create(graph, tenant, "adele")
    assign(graph, user, E3)

    assert assign(graph, user, E3, disabled=[MCOSTANDARD]).status_code == 200

    chosen = graph.get(f"/users/{user}?$select=assignedLicenses,assignedPlans").json()
    assert chosen["assignedLicenses"] == [{"disabledPlans": [MCOSTANDARD], "skuId": E3}]
    assert MCOSTANDARD not in {plan["servicePlanId"] for plan in chosen["assignedPlans"]}
    assert next(sku for sku in tenant.state("skus") if sku["skuPartNumber"] == "SPE_E3")["consumed"] == 1


def test_consumed_units_follow_with_their_own_lag(tenant: Tenant) -> None:
    tenant.turn(units_lag_seconds=60)
    graph = tenant.graph()
    assign(graph, create(graph, tenant, "adele"), E5)

    def shown() -> int:
        skus = graph.get("/subscribedSkus").json()["value"]
        return int(next(sku for sku in skus if sku["skuId"] == E5)["consumedUnits"])

    assert shown() == 0
    tenant.advance(61)
    assert shown() == 1


# -- $batch -----------------------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


def test_a_batch_answers_each_item_and_stops_dependent_ones(tenant: Tenant) -> None:
    graph = tenant.graph()
    bad = tenant.user_body("bad", userPrincipalName="bad@elsewhere.example")
    requests = [
        {"id": "1", "method": "POST", "url": "/users", "headers": JSON, "body": tenant.user_body("adele")},
        {"id": "2", "method": "POST", "url": "/users", "headers": JSON, "body": bad},
        {"id": "3", "dependsOn": ["2"], "method": "GET", "url": "/organization"},
        {"id": "4", "dependsOn": ["1"], "method": "GET", "url": f"/users/adele@{tenant.domain}?$select=id"},
        {"id": "5", "method": "POST", "url": "/users", "body": tenant.user_body("nobody")},
    ]

    answer = graph.post("/$batch", json={"requests": requests})

    responses = {one["id"]: one for one in answer.json()["responses"]}
    assert answer.status_code == 200
    assert {key: one["status"] for key, one in responses.items()} == {"1": 201, "2": 400, "3": 424, "4": 200, "5": 400}
    assert responses["4"]["body"]["id"] == responses["1"]["body"]["id"]
    assert len({one["headers"]["request-id"] for key, one in responses.items() if key != "3"}) == 4


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [{"id": str(index), "method": "GET", "url": "/users"} for index in range(21)],
        [{"id": "1", "method": "GET", "url": "/users"}, {"id": "1", "method": "GET", "url": "/users"}],
        [{"id": "1", "dependsOn": ["9"], "method": "GET", "url": "/users"}],
        [{"id": "1", "method": "GET", "url": "https://graph.microsoft.com/v1.0/users"}],
    ],
)
def test_a_malformed_envelope_fails_as_a_whole(tenant: Tenant, requests: list[dict[str, Any]]) -> None:
    assert tenant.graph().post("/$batch", json={"requests": requests}).status_code == 400


def test_a_batch_of_twenty_costs_milliseconds_without_delays(tenant: Tenant) -> None:
    graph = tenant.graph()
    graph.get("/organization")
    bodies = [tenant.user_body(f"user{index}") for index in range(20)]
    requests = [
        {"id": str(index), "method": "POST", "url": "/users", "headers": JSON, "body": body}
        for index, body in enumerate(bodies)
    ]

    before = time.perf_counter()
    answer = graph.post("/$batch", json={"requests": requests})
    took = time.perf_counter() - before

    assert {one["status"] for one in answer.json()["responses"]} == {201}
    assert took < 0.25, took  # generous: other tests share the cores


# -- permissions, throttling, faults ----------------------------------------------------------------------------------


def test_a_role_that_is_not_in_the_token_is_a_403(simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["applications"][0]["roles"] = ["User.Read.All", "User.EnableDisableAccount.All"]
    spec["users"] = [{"properties": {"userPrincipalName": f"adele@{spec['domains'][0]}"}}]
    tenant = install(simulator, spec)
    graph = tenant.graph()
    adele = f"/users/adele@{tenant.domain}"

    assert graph.get(adele).status_code == 200
    assert graph.patch(adele, json={"accountEnabled": False}).status_code == 204
    assert code_of(graph.patch(adele, json={"city": "Bern"})) == (403, "Authorization_RequestDenied")
    assert code_of(graph.post("/users", json=tenant.user_body("new"))) == (403, "Authorization_RequestDenied")
    assert code_of(graph.get("/subscribedSkus")) == (403, "Authorization_RequestDenied")


def test_a_token_without_roles_is_issued_and_refused_at_graph(simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["applications"][0]["roles"] = []

    assert install(simulator, spec).graph().get("/organization").status_code == 403


def test_published_limits_throttle_and_say_for_how_long(tenant: Tenant) -> None:
    tenant.turn(throttling=True)
    graph = tenant.graph()
    many = [{"id": str(index), "method": "GET", "url": "/subscribedSkus"} for index in range(20)]

    statuses: list[int] = []
    refused: dict[str, Any] = {}
    while not refused:
        responses = graph.post("/$batch", json={"requests": many}).json()["responses"]
        statuses += [one["status"] for one in responses]
        refused = next((one for one in responses if one["status"] == 429), {})

    assert 3 * len(statuses) >= 3500  # a small tenant has 3,500 units, each of these costs 3
    assert int(refused["headers"]["Retry-After"]) >= 1
    assert refused["headers"]["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    tenant.advance(10)
    assert graph.get("/organization").status_code == 200


def test_the_nth_request_can_be_made_to_fail(tenant: Tenant) -> None:
    graph = tenant.graph()
    tenant.fault(action="status", method="POST", path="/users", nth=2, status=429, retry_after_seconds=7)

    answers = [graph.post("/users", json=tenant.user_body(f"user{index}")) for index in range(3)]

    assert [answer.status_code for answer in answers] == [201, 429, 201]
    assert answers[1].headers["retry-after"] == "7"
    assert len(tenant.state("users")) == 2


@pytest.mark.parametrize(("action", "created"), [("drop", 0), ("drop-after", 1)])
def test_a_connection_can_be_lost_before_or_after_the_write(tenant: Tenant, action: str, created: int) -> None:
    tenant.fault(action=action, method="POST", path="/users")
    graph = tenant.graph()

    with pytest.raises(httpx.TransportError):
        graph.post("/users", json=tenant.user_body("adele"))

    assert len(tenant.state("users")) == created
    assert tenant.state("requests")["entries"][-1]["fault"] == action


def test_a_dropped_batch_has_done_its_items(tenant: Tenant) -> None:
    tenant.fault(action="drop-after", method="POST", path="/users", nth=2)
    graph = tenant.graph()
    requests = [
        {"id": str(index), "method": "POST", "url": "/users", "headers": JSON, "body": tenant.user_body(f"user{index}")}
        for index in range(3)
    ]

    with pytest.raises(httpx.TransportError):
        graph.post("/$batch", json={"requests": requests})

    assert len(tenant.state("users")) == 3


def test_the_requests_log_keeps_no_password(tenant: Tenant) -> None:
    create(tenant.graph(), tenant, "adele")

    log = tenant.state("requests")

    assert [entry["path"] for entry in log["entries"] if entry["face"] == "graph"] == ["/users"]
    assert "xWwvJ" not in str(log)
