"""What keeps a Graph call from going well: missing roles, limits, faults, lost connections; and the log of it."""

from typing import Any

import httpx
import pytest

from support.graph_calls import JSON, code_of, create
from support.simulated import Simulator, Tenant, install, tenant_spec
from ucmesh_simulator.clock import iso


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


def test_the_requests_log_says_when_in_fractions_of_a_second(tenant: Tenant) -> None:
    graph = tenant.graph()
    graph.get("/organization")
    tenant.advance(0.25)
    graph.get("/organization")

    first, second = (entry for entry in tenant.state("requests")["entries"] if entry["path"] == "/organization")

    assert second["at_seconds"] - first["at_seconds"] >= 0.25
    assert [iso(first["at_seconds"]), iso(second["at_seconds"])] == [first["at"], second["at"]]
