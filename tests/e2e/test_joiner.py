"""A joiner through the public doors only: sent by HR, proven or refused, looked at in the tenant itself."""

import json
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from support.joiners import NORTHWIND, Office, cloudevent

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(300)]


def test_a_joiner_has_everything_and_the_tenant_says_so(office: Office) -> None:
    data = office.person(department="Sales")
    assert office.send(data)[0]["status"] == "accepted"
    person = office.wait(data)
    assert person["status"] == "provisioned", person["reason"]
    assert {line["verdict"] for line in person["lines"]} == {"same"}
    proof = office.proof(data)
    assert proof["licences"] == ["SPE_E5"]
    assert proof["groups"] == ["All Staff", "Voice Users"]
    assert proof["numbers"] == 1
    assert proof["policies"]["TenantDialPlan"] == "CH-Zurich"
    assert proof["cas"]["ImapEnabled"] is False


def test_every_operation_that_called_graph_kept_microsofts_request_id(office: Office) -> None:
    data = office.person()
    office.send(data)
    person = office.wait(data)
    graph = [row for row in office.operations(person["plan_id"]) if row["service"] == "graph"]
    assert graph
    assert all(row["request_ids"] for row in graph)


def test_one_trace_leads_from_the_event_to_graph_and_the_cmdlets(office: Office) -> None:
    data = office.person()
    office.send(data)
    plan_id = office.wait(data)["plan_id"]
    trace_id = office.api.get(f"/plans/{plan_id}").json()["trace_id"]
    traces = office.mesh.client("traces")
    names: set[str] = set()

    def complete() -> bool:
        answer = traces.get(f"/api/traces/{trace_id}")
        if answer.status_code == 200:
            spans = answer.json()["data"][0]["spans"]
            names.update(span["operationName"] for span in spans)
        return {"graph user.ensure", "cmdlet Set-CsPhoneNumberAssignment", "cmdlet Set-Mailbox", "plan"} <= names

    office.until(complete, "the spans", lambda: str(sorted(names)))


def test_the_same_event_twice_changes_nothing(office: Office) -> None:
    data = office.person()
    office.send(data, event_ids=["once-and-again"])
    office.wait(data)
    before = office.writes()
    (again,) = office.send(data, event_ids=["once-and-again"])
    assert again["status"] == "duplicate"
    assert office.writes() == before
    assert len(office.users(data)) == 1


def test_a_later_copy_with_a_new_id_plans_nothing(office: Office) -> None:
    data = office.person()
    office.send(data)
    first = office.wait(data)
    office.send({**data, "sequence": 2})
    office.until(lambda: _plans(office, data) == 2, "the second plan")
    office.until(lambda: office.wait(data)["plan_id"] != first["plan_id"], "the second plan to be over")
    changed = [row for row in office.operations(office.wait(data)["plan_id"]) if row["changed"]]
    assert changed == []


def test_a_change_after_success_does_only_what_differs(office: Office) -> None:
    data = office.person(job_title="Trainee")
    office.send(data)
    office.wait(data)
    changed = {**data, "sequence": 2, "person": {**data["person"], "job_title": "Engineer"}}
    office.send(changed)
    office.until(lambda: office.users(data)[0].get("jobTitle") == "Engineer", "the new title")
    plan_id = office.wait(data)["plan_id"]
    names = {row["operation"] for row in office.operations(plan_id) if row["changed"]}
    assert names == {"user.patch"}


def test_an_older_record_that_comes_late_is_ignored(office: Office) -> None:
    data = office.person(job_title="Engineer", sequence=5)
    office.send(data)
    office.wait(data)
    office.send({**data, "sequence": 4, "person": {**data["person"], "job_title": "Trainee"}})
    person = office.wait(data)
    assert person["facts"]["job_title"] == "Engineer"
    assert office.users(data)[0]["jobTitle"] == "Engineer"


async def test_hr_may_speak_kafka(office: Office) -> None:
    good, bad = office.person(), b"{not json"
    producer = AIOKafkaProducer(bootstrap_servers=office.mesh.endpoints.kafka)
    await producer.start()
    try:
        headers = _headers(cloudevent(good, f"kafka-{good['employee_id']}"))
        value = json.dumps(good).encode()
        await producer.send_and_wait("ucmesh.hr.lifecycle.v1", value, key=b"k", headers=headers)
        headers = _headers(cloudevent(good, f"kafka-bad-{time.monotonic_ns()}"))
        await producer.send_and_wait("ucmesh.hr.lifecycle.v1", bad, key=b"k2", headers=headers)
    finally:
        await producer.stop()
    assert office.wait(good)["status"] == "provisioned"
    office.until(lambda: any(letter["key"] == "k2" for letter in _letters(office)), "the dead letter")


def test_a_malformed_record_is_kept_and_replayed_after_a_fix(office: Office) -> None:
    data = office.person()
    broken = {**data, "person": {**data["person"], "surname": ""}}
    (result,) = office.send(broken)
    assert result["status"] == "dead-lettered"
    assert "surname" in result["reason"]
    letter = office.api.get(f"/dead-letters/{result['dead_letter_id']}").raise_for_status().json()
    assert letter["state"] == "open"
    office.api.post(f"/dead-letters/{letter['id']}/replay", json={"data": data}).raise_for_status()
    assert office.wait(data)["status"] == "provisioned"


def test_a_refusal_names_the_cause_and_can_be_retried_once_the_rules_are_right(office: Office) -> None:
    data = office.person(city="Genève")
    office.send(data)
    person = office.wait(data)
    assert person["status"] == "refused"
    assert person["reason"]["code"] == "site-unknown"
    assert "Genève" in person["reason"]["message"]
    assert office.users(data) == []
    document = office.document("northwind")
    rows = document["filters"][0]["rows"]
    rows[-1]["next"] = "or"
    rows.append({"attribute": "city", "condition": "equals", "value": "Genève"})
    office.api.put("/customers/northwind", json=document).raise_for_status()
    office.api.post(f"/plans/{person['plan_id']}/retry").raise_for_status()
    office.until(lambda: office.wait(data)["status"] == "provisioned", "the retried plan")


def test_an_undone_joiner_leaves_nothing_behind(office: Office) -> None:
    seats = _free_seats(office, "SPE_E5")
    data = office.person(department="Field Sales")
    office.send(data)
    person = office.wait(data)
    assert person["status"] == "compensated"
    assert person["reason"]["code"] == "policy-unknown"
    assert office.users(data) == []
    held = list(office.api.get("/customers/northwind/numbers", params={"limit": 500}).json()["items"])
    assert all(number["employee_id"] != data["employee_id"] for number in held)
    office.until(lambda: _free_seats(office, "SPE_E5") == seats, "the seat to be free again")


def test_an_undone_joiner_can_be_retried_once_the_cause_is_gone(office: Office) -> None:
    document = office.document("northwind")
    document["profiles"][1]["teams_policies"] = {"TeamsCallingPolicy": "Only-This-Test"}
    office.api.put("/customers/northwind", json=document).raise_for_status()
    data = office.person(department="Field Sales")
    office.send(data)
    person = office.wait(data)
    assert person["status"] == "compensated", person["reason"]
    policy = {"type": "TeamsCallingPolicy", "name": "Only-This-Test"}
    office.simulator.post(f"/_sim/tenants/{NORTHWIND}/policies", json=policy).raise_for_status()
    office.simulator.post("/_sim/clock", json={"advance_seconds": 600}).raise_for_status()
    office.api.post(f"/plans/{person['plan_id']}/retry").raise_for_status()
    office.until(
        lambda: office.wait(data)["status"] == "provisioned",
        "the retried plan",
        lambda: str(office.wait(data)["reason"]),
    )
    assert len(office.users(data)) == 1
    office.api.put("/customers/northwind", json=office.document("northwind")).raise_for_status()


def test_a_preview_writes_nothing_and_shows_the_plan(office: Office) -> None:
    data = office.person()
    before = office.writes()
    preview = office.api.post("/plans/preview", json={"customer": "northwind", "event": data}).raise_for_status().json()
    assert preview["site"] == "zurich"
    assert preview["effects"]["number"]
    assert "User.ReadWrite.All" in preview["permissions"]
    assert next(row["operation"] for row in preview["operations"]) == "user.ensure"
    assert office.api.get(f"/people/northwind/{data['employee_id']}").status_code == 404
    assert office.writes() == before


def test_a_future_joiner_waits_and_can_be_cancelled(office: Office) -> None:
    data = {**office.person(), "effective_date": "2035-02-01"}
    office.send(data)
    person = office.wait(data)
    assert person["status"] == "scheduled"
    office.api.post(f"/plans/{person['plan_id']}/cancel").raise_for_status()
    office.until(lambda: office.wait(data)["status"] == "cancelled", "the plan to be cancelled")
    assert office.users(data) == []


def _plans(office: Office, data: dict[str, Any]) -> int:
    query = {"customer": "northwind", "employee_id": data["employee_id"]}
    return len(office.api.get("/plans", params=query).raise_for_status().json()["items"])


def _letters(office: Office) -> list[dict[str, Any]]:
    return list(office.api.get("/dead-letters", params={"limit": 100}).raise_for_status().json()["items"])


def _free_seats(office: Office, sku: str) -> int:
    pools = office.api.get("/customers/northwind/seats").raise_for_status().json()["items"]
    return next(pool["available"] for pool in pools if pool["part_number"] == sku)


def _headers(event: dict[str, Any]) -> list[tuple[str, bytes]]:
    attributes = {name: str(event[name]).encode() for name in ("specversion", "id", "source", "type", "subject")}
    return [(f"ce_{name}", value) for name, value in attributes.items()] + [("content-type", b"application/json")]
