"""Users over real TLS, alone and in lists, with the answers the Graph adapter has to live with."""

import uuid
from typing import Any

import pytest

from support.graph_calls import E5, assign, code_of, create, message_of
from support.simulated import Tenant


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
        (
            {"passwordProfile": ["short"]},
            "Property 'passwordProfile' in payload has a value that does not match schema.",
        ),
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
        ({"$top": "²"}, "Request_BadRequest"),
        ({"$skiptoken": "garbage"}, "Directory_ExpiredPageToken"),
    ],
)
def test_a_query_graph_would_refuse_is_refused(tenant: Tenant, params: dict[str, str], code: str) -> None:
    assert code_of(tenant.graph().get("/users", params=params)) == (400, code)


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
