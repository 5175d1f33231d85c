"""$batch over real TLS: items, dependencies, envelopes Graph refuses, speed."""

import time
from typing import Any

import pytest

from support.graph_calls import JSON
from support.simulated import Tenant


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
    assert took < 2, took  # a delay that was left on costs more than that; a busy machine does not
