"""Every operation against a simulated tenant: done, done again, undone; asserted on the tenant itself."""

import uuid
from typing import Any

from support.graph_rig import Rig, ensure
from support.simulated import Tenant


def user_of(tenant: Tenant, user_id: str) -> dict[str, Any]:
    return next(user for user in tenant.state("users") if user["id"] == user_id)


def group_of(tenant: Tenant, name: str) -> dict[str, Any]:
    return next(group for group in tenant.state("groups") if group["displayName"] == name)


def sku_of(tenant: Tenant, name: str) -> dict[str, Any]:
    return next(sku for sku in tenant.state("skus") if sku["skuPartNumber"] == name)


async def test_a_user_is_made_once_and_undone(rig: Rig, tenant: Tenant) -> None:
    params = ensure(tenant, "ada", department="IT", jobTitle="Analyst")
    first = await rig.succeed(tenant, "user.ensure", params)
    user = user_of(tenant, first["output"]["user_id"])
    assert user["employeeId"] == "NW-ada"
    assert user["department"] == "IT"
    assert user["accountEnabled"] is True
    assert first["changed"] is True
    assert first["output"]["created"] is True
    assert first["request_ids"]

    again = await rig.succeed(tenant, "user.ensure", params)
    assert again["changed"] is False
    assert again["output"] == first["output"] | {"created": False}
    assert again["undo"] is None
    assert len(tenant.state("users")) == 1

    await rig.undo(tenant, first)
    assert tenant.state("users") == []
    gone = await rig.succeed(tenant, first["undo"]["operation"], first["undo"]["params"])
    assert gone["changed"] is False


async def test_an_undone_account_that_still_holds_its_address_comes_back(rig: Rig, tenant: Tenant) -> None:
    params = ensure(tenant, "ada", department="IT", mailNickname="ada")
    first = await rig.succeed(tenant, "user.ensure", params)
    user_id = first["output"]["user_id"]
    await rig.succeed(
        tenant,
        "licence.assign",
        {"user_id": user_id, "add": [{"skuId": sku_of(tenant, "SPE_E5")["skuId"], "disabledPlans": []}], "remove": []},
    )
    assert [mailbox["user_id"] for mailbox in tenant.state("mailboxes")] == [user_id]
    await rig.undo(tenant, first)
    again = await rig.succeed(tenant, "user.ensure", ensure(tenant, "ada", department="Sales", mailNickname="ada"))
    assert again["output"]["user_id"] == user_id
    assert user_of(tenant, user_id)["department"] == "Sales"
    await rig.undo(tenant, again)
    assert tenant.state("users") == []


async def test_an_account_of_the_same_employee_is_adopted_and_given_back(rig: Rig, tenant: Tenant) -> None:
    body = tenant.user_body("ada", employeeId="NW-ada", department="Sales")
    user_id = tenant.graph().post("/users", json=body).json()["id"]
    reply = await rig.succeed(tenant, "user.ensure", ensure(tenant, "ada", department="IT"))
    assert reply["output"] == {"user_id": user_id, "user_principal_name": body["userPrincipalName"], "created": False}
    assert user_of(tenant, user_id)["department"] == "IT"
    await rig.undo(tenant, reply)
    assert user_of(tenant, user_id)["department"] == "Sales"


async def test_somebody_elses_name_is_refused(rig: Rig, tenant: Tenant) -> None:
    tenant.graph().post("/users", json=tenant.user_body("ada", employeeId="other"))
    reply = await rig.execute(tenant, "user.ensure", ensure(tenant, "ada"))
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "upn-taken")
    assert reply["error"]["remedy"]


async def test_observe_finds_the_person_and_the_taken_names(rig: Rig, tenant: Tenant) -> None:
    user_id = await rig.user(tenant, "ada")
    boss = await rig.user(tenant, "boss")
    await rig.succeed(tenant, "user.set-manager", {"user": user_id, "manager": boss})
    group = group_of(tenant, "All staff")["id"]
    await rig.succeed(tenant, "group.add-member", {"group_id": group, "user_id": user_id})
    names = [f"{local}@{tenant.domain}" for local in ("ada", "boss", "nobody")]
    reply = await rig.succeed(tenant, "user.observe", {"employee_id": "NW-ada", "upn_candidates": names})
    assert reply["output"]["taken"] == [names[1]]
    found = reply["output"]["user"]
    assert (found["id"], found["manager_id"], found["group_ids"]) == (user_id, boss, [group])
    nobody = await rig.succeed(tenant, "user.observe", {"employee_id": "NW-?", "upn_candidates": names})
    assert nobody["output"] == {"user": None, "taken": names[:2]}


async def test_get_reads_what_was_written(rig: Rig, tenant: Tenant) -> None:
    user_id = await rig.user(tenant, "ada", city="Bern", businessPhones=["+41 44 555 10 00"])
    reply = await rig.succeed(tenant, "user.get", {"user": f"ada@{tenant.domain}"})
    assert reply["output"]["user"]["id"] == user_id
    assert reply["output"]["user"]["city"] == "Bern"
    assert reply["output"]["user"]["businessPhones"] == ["+41 44 555 10 00"]
    assert reply["output"]["manager_id"] is None
    missing = await rig.execute(tenant, "user.get", {"user": str(uuid.uuid4())})
    assert (missing["outcome"], missing["error"]["code"]) == ("refused", "user-not-found")


async def test_patch_and_its_undo(rig: Rig, tenant: Tenant) -> None:
    user_id = await rig.user(tenant, "ada", city="Bern")
    params = {"user_id": user_id, "attributes": {"city": "Basel", "jobTitle": "Lead"}}
    reply = await rig.succeed(tenant, "user.patch", params)
    assert user_of(tenant, user_id)["city"] == "Basel"
    assert (await rig.succeed(tenant, "user.patch", params))["changed"] is False
    await rig.undo(tenant, reply)
    assert user_of(tenant, user_id)["city"] == "Bern"
    assert user_of(tenant, user_id).get("jobTitle") is None


async def test_manager_set_changed_and_undone_step_by_step(rig: Rig, tenant: Tenant) -> None:
    user, first, second = [await rig.user(tenant, local) for local in ("ada", "one", "two")]

    async def manager() -> Any:
        reply = await rig.succeed(tenant, "user.get", {"user": user})
        return reply["output"]["manager_id"]

    set_first = await rig.succeed(tenant, "user.set-manager", {"user": user, "manager": f"one@{tenant.domain}"})
    assert (await rig.succeed(tenant, "user.set-manager", {"user": user, "manager": first}))["changed"] is False
    set_second = await rig.succeed(tenant, "user.set-manager", {"user": user, "manager": second})
    assert set_second["output"] == {"former_manager_id": first}
    assert await manager() == second
    await rig.undo(tenant, set_second)
    assert await manager() == first
    await rig.undo(tenant, set_first)
    assert await manager() is None
    nobody = await rig.execute(tenant, "user.set-manager", {"user": user, "manager": f"x@{tenant.domain}"})
    assert nobody["error"]["code"] == "manager-not-found"


async def test_membership_and_its_undo(rig: Rig, tenant: Tenant) -> None:
    user_id = await rig.user(tenant, "ada")
    params = {"group_id": group_of(tenant, "All staff")["id"], "user_id": user_id}
    reply = await rig.succeed(tenant, "group.add-member", params)
    assert user_id in group_of(tenant, "All staff")["members"]
    assert (await rig.succeed(tenant, "group.add-member", params))["changed"] is False
    await rig.undo(tenant, reply)
    assert user_id not in group_of(tenant, "All staff")["members"]
    assert (await rig.succeed(tenant, "group.remove-member", params))["changed"] is False
    assert user_of(tenant, user_id)


async def test_groups_that_cannot_be_written(rig: Rig, tenant: Tenant) -> None:
    user_id = await rig.user(tenant, "ada")
    synced = {"group_id": group_of(tenant, "Synced")["id"], "user_id": user_id}
    reply = await rig.execute(tenant, "group.add-member", synced)
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "on-premises-mastered")
    nowhere = await rig.execute(tenant, "group.add-member", synced | {"group_id": str(uuid.uuid4())})
    assert nowhere["error"]["code"] == "group-or-user-not-found"


async def test_licences_swapped_and_given_back(rig: Rig, tenant: Tenant) -> None:
    user_id = await rig.user(tenant, "ada")
    e3, e5 = sku_of(tenant, "SPE_E3"), sku_of(tenant, "SPE_E5")
    plan = e3["servicePlans"][0]["servicePlanId"]
    add = {"user_id": user_id, "add": [{"skuId": e3["skuId"], "disabledPlans": [plan]}], "remove": []}
    first = await rig.succeed(tenant, "licence.assign", add)
    assert (await rig.succeed(tenant, "licence.assign", add))["changed"] is False
    swap = {"user_id": user_id, "add": [{"skuId": e5["skuId"], "disabledPlans": []}], "remove": [e3["skuId"]]}
    second = await rig.succeed(tenant, "licence.assign", swap)

    async def held() -> Any:
        reply = await rig.succeed(tenant, "user.get", {"user": user_id})
        return {item["skuId"]: item["disabledPlans"] for item in reply["output"]["user"]["assignedLicenses"]}

    assert await held() == {e5["skuId"]: []}
    await rig.undo(tenant, second)
    assert await held() == {e3["skuId"]: [plan]}
    await rig.undo(tenant, first)
    assert await held() == {}


async def test_the_last_seat_goes_to_exactly_one(rig: Rig, tenant: Tenant) -> None:
    users = [await rig.user(tenant, f"user{number}") for number in range(6)]
    sku = sku_of(tenant, "SPE_E5")["skuId"]  # three seats
    orders = [
        rig.order(tenant, "licence.assign", {"user_id": user, "add": [{"skuId": sku, "disabledPlans": []}]})
        for user in users
    ]
    await rig.send(*orders)
    replies = await rig.replies(orders)
    assert sorted(reply["outcome"] for reply in replies) == ["refused"] * 3 + ["succeeded"] * 3
    assert {reply["error"]["code"] for reply in replies if reply["error"]} == {"no-seats"}


async def test_a_licence_needs_a_usage_location(rig: Rig, tenant: Tenant) -> None:
    params = ensure(tenant, "ada")
    del params["attributes"]["usageLocation"]
    user_id = (await rig.succeed(tenant, "user.ensure", params))["output"]["user_id"]
    sku = sku_of(tenant, "SPE_E3")["skuId"]
    reply = await rig.execute(tenant, "licence.assign", {"user_id": user_id, "add": [{"skuId": sku}]})
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "usage-location-missing")


async def test_the_tenant_is_observed_with_what_it_allows(rig: Rig, tenant: Tenant) -> None:
    output = (await rig.succeed(tenant, "tenant.observe", {}))["output"]
    assert output["organization"]["id"] == tenant.tenant_id
    assert tenant.domain in [domain["name"] for domain in output["organization"]["verifiedDomains"]]
    assert {"SPE_E5", "MCOEV"} <= {sku["skuPartNumber"] for sku in output["skus"]}
    e5 = next(sku for sku in output["skus"] if sku["skuPartNumber"] == "SPE_E5")
    assert (e5["enabled"], e5["consumed"]) == (3, 0)
    assert e5["servicePlans"][0].keys() == {"servicePlanId", "servicePlanName"}
    assert {"All staff", "Synced"} <= {group["displayName"] for group in output["groups"]}
    assert output["capabilities"]["user.ensure"] == {"allowed": True, "missing": []}
    assert output["unreadable"] == []


async def test_probe(rig: Rig, tenant: Tenant) -> None:
    output = (await rig.succeed(tenant, "tenant.probe", {}))["output"]
    assert output["tenant_id"] == tenant.tenant_id
    assert "User.ReadWrite.All" in output["roles"]


async def test_a_certificate_is_registered_used_and_removed(rig: Rig, tenant: Tenant) -> None:
    credential_id, der = await rig.certificate(tenant)
    params = {"application_object_id": tenant.object_id, "certificate": der, "display_name": "ucmesh"}
    bootstrap = str(await rig.secret(tenant))
    reply = await rig.succeed(tenant, "application.add-key", params, credential=bootstrap)
    again = await rig.succeed(tenant, "application.add-key", params, credential=bootstrap)
    assert (again["changed"], again["output"]) == (False, reply["output"])
    # The canary: this credential and no other.
    await rig.succeed(tenant, "tenant.probe", {}, credential=str(credential_id))
    await rig.activate(tenant, credential_id)
    await rig.succeed(tenant, "tenant.probe", {})
    await rig.undo(tenant, reply)
    (application,) = tenant.state("applications")
    assert application["keys"] == []


async def test_unknown_operations_and_wrong_parameters_are_refused(rig: Rig, tenant: Tenant) -> None:
    unknown = await rig.execute(tenant, "user.vanish", {})
    assert (unknown["outcome"], unknown["error"]["code"]) == ("refused", "unknown-operation")
    newer = await rig.execute(tenant, "user.get", {"user": "x"}, version=9)
    assert newer["error"]["code"] == "unknown-operation"
    wrong = await rig.execute(tenant, "user.get", {"user": 7})
    assert (wrong["outcome"], wrong["error"]["code"]) == ("refused", "invalid-params")


async def test_past_its_deadline_nothing_is_done(rig: Rig, tenant: Tenant) -> None:
    reply = await rig.execute(tenant, "user.ensure", ensure(tenant, "late"), deadline="2020-01-01T00:00:00Z")
    assert (reply["outcome"], reply["error"]["code"]) == ("failed", "deadline-exceeded")
    assert tenant.state("users") == []


async def test_names_that_try_to_break_out(rig: Rig, tenant: Tenant) -> None:
    nasty = "O'Hara'; DROP--\" $(id) ${params.x} {x}\n\x1e"
    reply = await rig.succeed(tenant, "user.ensure", ensure(tenant, "nasty", displayName=nasty, city="{$merge: []}"))
    user = user_of(tenant, reply["output"]["user_id"])
    assert user["displayName"] == nasty
    assert user["city"] == "{$merge: []}"
    found = await rig.succeed(tenant, "user.observe", {"employee_id": "x' or 1 eq 1 or '", "upn_candidates": ["a'b@c"]})
    assert found["output"] == {"user": None, "taken": []}
