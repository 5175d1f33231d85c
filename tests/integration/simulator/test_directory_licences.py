"""Group memberships and licences over real TLS, with the service's own idempotency errors and refusals."""

import uuid

from support.graph_calls import (
    E3,
    E5,
    EXCHANGE_STANDARD_SKU,
    MCOEV,
    MCOEV_SKU,
    MCOSTANDARD,
    assign,
    code_of,
    create,
    message_of,
)
from support.simulated import Tenant


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


def test_the_last_seat_goes_to_one_only(tenant: Tenant) -> None:
    graph = tenant.graph()
    users = [create(graph, tenant, f"user{index}") for index in range(4)]

    answers = [assign(graph, user, E5) for user in users]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 400]
    assert message_of(answers[3]) == f"Subscription with SKU {E5} does not have any available licenses."
    assert next(sku for sku in tenant.state("skus") if sku["skuPartNumber"] == "SPE_E5")["consumed"] == 3


def test_licences_given_and_taken_are_counted_by_person_also_over_a_deletion(tenant: Tenant) -> None:
    graph = tenant.graph()
    for _ in range(2):
        user_id = create(graph, tenant, "adele", employeeId="NW-1")
        for _ in range(2):
            assert assign(graph, user_id, E5).status_code == 200
        assert graph.delete(f"/users/{user_id}").status_code == 204
        assert graph.delete(f"/directory/deletedItems/{user_id}").status_code == 204
    (counted,) = tenant.state("effects")
    assert counted == {"person": "NW-1", "kind": "licence", "what": "SPE_E5", "given": 2, "taken": 2}


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
