"""Seeds: what they build, and what they are refused for."""

from typing import Any

import pytest

from ucmesh_simulator.clock import SimClock
from ucmesh_simulator.seed import SeedFile, TenantSpec
from ucmesh_simulator.tenant_builder import SeedError, build_tenant
from ucmesh_simulator.world import World

TENANT = "5f0c2a64-3d0b-4c55-9d6c-0f4a6f3f6a01"


def spec(**changes: Any) -> TenantSpec:
    return TenantSpec.model_validate(
        {
            "tenant_id": TENANT,
            "display_name": "Northwind",
            "initial_domain": "northwind.onmicrosoft.com",
            "domains": ["northwind.example"],
            "skus": [{"part_number": "SPE_E5", "seats": 1}],
            **changes,
        }
    )


def test_the_same_seed_makes_the_same_ids() -> None:
    users = [{"properties": {"userPrincipalName": f"u{index}@northwind.example"}} for index in range(3)]

    made = [list(build_tenant(World(seed=seed), spec(users=users)).users) for seed in ("7", "7", "8")]

    assert made[0] == made[1]
    assert made[0] != made[2]


def test_ids_that_another_run_drew_are_kept_apart() -> None:
    names = [f"u{index}@northwind.example" for index in range(3)]
    drawn = list(
        build_tenant(World(), spec(users=[{"properties": {"userPrincipalName": name}} for name in names])).users
    )
    pinned = [
        {"properties": {"userPrincipalName": name}, "id": user_id}
        for name, user_id in zip(names, reversed(drawn), strict=True)
    ]

    tenant = build_tenant(World(), spec(users=pinned))

    assert {user.upn: user.id for user in tenant.users.values()} == dict(zip(names, reversed(drawn), strict=True))


def test_a_seeded_mailbox_has_its_settings() -> None:
    properties = {"userPrincipalName": "boss@northwind.example", "usageLocation": "CH"}
    boss = {"properties": properties, "mailbox": {"RetentionPolicy": "Short"}, "cas_mailbox": {"ImapEnabled": False}}

    tenant = build_tenant(World(), spec(users=[{**boss, "licences": ["SPE_E5"]}]))

    user = tenant.find_user("boss@northwind.example")
    assert user is not None
    assert user.mailbox is not None
    assert (user.mailbox.settings["RetentionPolicy"], user.mailbox.cas["ImapEnabled"]) == ("Short", False)
    with pytest.raises(SeedError, match="mailbox settings need a licence with Exchange"):
        build_tenant(World(), spec(users=[boss]))


def test_a_seeded_user_is_settled_or_still_coming() -> None:
    properties = {"displayName": "Boss", "usageLocation": "CH"}
    world = World(clock=SimClock(frozen_at=1_000_000.0))
    tenants = {
        settled: build_tenant(
            world,
            spec(
                users=[
                    {
                        "properties": {**properties, "userPrincipalName": "boss@northwind.example"},
                        "licences": ["SPE_E5"],
                        "settled": settled,
                    }
                ]
            ),
        )
        for settled in (True, False)
    }

    for settled, tenant in tenants.items():
        user = tenant.find_user("BOSS@northwind.example")
        assert user is not None
        assert user.mailbox is not None
        assert user.teams is not None
        assert (user.mailbox.visible_at <= tenant.now(), user.teams.visible_at <= tenant.now()) == (settled, settled)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"users": [{"properties": {"userPrincipalName": "a@northwind.example"}, "licences": ["SPE_E5"]}]},
            "usage location",
        ),
        (
            {"users": [{"properties": {"userPrincipalName": "a@northwind.example"}, "groups": ["Nope"]}]},
            "no group Nope",
        ),
        ({"skus": [{"part_number": "UNHEARD_OF", "seats": 1}]}, "not in the product list"),
        ({"policies": {"NoSuchPolicy": ["x"]}}, "no policy type NoSuchPolicy"),
        ({"numbers": [{"number": "+41445551000", "type": "DirectRouting", "assigned_to": "a@b.c"}]}, "assigned_to"),
        ({"applications": [{"client_id": TENANT, "directory_roles": ["Emperor"]}]}, "Emperor"),
        (
            {"applications": [{"client_id": TENANT, "certificates": [{"certificate": "AAAA"}]}]},
            "not a valid certificate",
        ),
    ],
)
def test_a_seed_that_contradicts_itself_is_refused_with_the_place(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SeedError, match=text):
        build_tenant(World(), spec(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"numbers": [{"first": "+41445551000", "type": "DirectRouting"}]},
        {"numbers": [{"first": "+41445551009", "last": "+41445551000", "type": "DirectRouting"}]},
        {"unknown_field": 1},
        {"tenant_id": "not-a-guid"},
    ],
)
def test_a_seed_of_the_wrong_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        spec(**changes)


def test_a_seed_file_is_a_list_of_tenants() -> None:
    assert SeedFile.model_validate({"tenants": []}).tenants == []
