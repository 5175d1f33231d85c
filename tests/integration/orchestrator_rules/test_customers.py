"""Applying configurations: what changes, what must not, and what becomes of tenants and numbers."""

import pytest

from mesh_runtime.errors import Conflict
from orchestrator.application import FaultyConfiguration
from support.plan_script import TENANT
from support.rules_customer import OTHER_TENANT, document, hr_event


async def test_applying_the_same_document_again_changes_nothing(office):
    first = await office.apply()
    assert first.version == 1
    assert len(first.changes) == 11 + 1
    await office.credential()
    again = await office.apply()
    assert (again.version, again.changes, again.registering) == (1, (), frozenset())


async def test_a_change_is_reported_row_by_row_and_kept_as_a_version(office):
    await office.apply()
    changed = document()
    changed["sites"][1]["name"] = "Berlin Mitte"
    changed["profiles"] = changed["profiles"][:1]
    changed["flow_through"] = changed["flow_through"][:1]
    applied = await office.apply(changed)
    assert applied.version == 2
    assert [(change.kind, change.name, change.action, change.fields) for change in applied.changes] == [
        ("sites", "berlin", "changed", ("name",)),
        ("flow_through", "rows", "changed", ("rows",)),
        ("profiles", "office", "removed", ()),
    ]
    versions = await office.rows("SELECT version, document->>'name' FROM configuration WHERE name = 'berlin'")
    assert sorted(versions) == [(1, "Berlin"), (2, "Berlin Mitte")]


async def test_every_fault_is_named_by_its_place(office):
    faulty = document()
    faulty["sites"][0]["tenant"] = OTHER_TENANT
    faulty["sites"][1]["move"] = "sales"
    faulty["filters"][2]["rows"][0]["value"] = "(?<=x)y"
    faulty["flow_through"][1]["profile"] = "nobody"
    faulty["profiles"][0]["upn"] = "{first}"
    with pytest.raises(FaultyConfiguration) as caught:
        await office.apply(faulty)
    assert [fault.pointer for fault in caught.value.faults] == [
        "/sites/0/tenant",
        "/sites/1/move",
        "/filters/2/rows/0/value",
        "/profiles/0/upn",
        "/flow_through/1/profile",
    ]
    assert await office.rows("SELECT count(*) FROM customer") == [(0,)]


async def test_a_new_tenant_is_registered_with_its_secret_sealed(office):
    await office.apply()
    await office.answer()
    [(kind, data)] = office.sent
    assert kind == "ucmesh.certs.credential.v1.ensure"
    assert data["tenant_id"] == TENANT
    assert data["bootstrap_secret"] == "sealed:12"
    stored = await office.rows("SELECT document::text FROM configuration")
    assert all("first-secret" not in text for (text,) in stored)


async def test_a_failed_registration_is_asked_for_again_by_applying_again(office):
    await office.apply()
    await office.credential(fails="consent-missing")
    assert await office.rows("SELECT state, reason->>'code' FROM tenant") == [("failed", "consent-missing")]
    again = await office.apply()
    assert again.registering == {TENANT}
    assert await office.rows("SELECT state, reason FROM tenant") == [("registering", None)]


async def test_a_failed_rotation_does_not_take_a_working_tenant_out_of_service(office):
    await office.apply()
    await office.credential()
    await office.credential(fails="rotation-failed")
    assert await office.rows("SELECT state, reason->>'code' FROM tenant") == [("ready", "rotation-failed")]


async def test_a_tenant_belongs_to_one_customer(office):
    await office.apply()
    with pytest.raises(Conflict, match="another customer"):
        await office.apply(document(customer="contoso"))


async def test_a_tenant_with_people_cannot_be_removed(office):
    await office.open_business()
    await office.hr(hr_event())
    moved = document()
    moved["tenants"][0]["tenant_id"] = OTHER_TENANT
    for site in moved["sites"]:
        site["tenant"] = OTHER_TENANT
    with pytest.raises(Conflict, match="still has people"):
        await office.apply(moved)


async def test_numbers_follow_the_document_but_never_leave_a_user(office):
    await office.open_business()
    await office.hr(hr_event())
    await office.run()
    fewer = document()
    fewer["numbers"] = [{"site": "zurich", "type": "DirectRouting", "numbers": ["+41445551004", "+41445551009"]}]
    await office.apply(fewer)
    numbers = await office.rows("SELECT number, status, listed FROM number ORDER BY number")
    assert numbers == [
        ("+41445551000", "used", False),
        ("+41445551004", "available", True),
        ("+41445551009", "available", True),
    ]


async def test_a_tenant_that_cannot_be_read_says_why_and_is_tried_again(office):
    await office.open_business()
    office.tenant.refuses["tenant.observe"] = "permission-missing"
    office.clock.advance(901)
    await office.run()
    assert await office.rows("SELECT observation->'error'->>'code' FROM tenant") == [("permission-missing",)]
    del office.tenant.refuses["tenant.observe"]
    office.clock.advance(61)
    await office.run()
    assert await office.rows("SELECT observation->'error' FROM tenant") == [(None,)]
