"""The simulator's pure rules: budgets, faults, knobs, filters, assertions, binding, seeds, generated files."""

import contextlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucmesh_simulator.clock import SimClock, iso, parse_iso
from ucmesh_simulator.directory.batch import parse_batch
from ucmesh_simulator.directory.errors import GraphError
from ucmesh_simulator.directory.filters import parse_filter as parse_odata
from ucmesh_simulator.directory.messages import parse_query
from ucmesh_simulator.directory.routes import match
from ucmesh_simulator.exchange.mailboxes import shown_size
from ucmesh_simulator.faults import FaultError, FaultPlan
from ucmesh_simulator.knobs import KnobError, Knobs
from ucmesh_simulator.objects import Replica
from ucmesh_simulator.powershell.filters import FilterError, parse_filter
from ucmesh_simulator.powershell.parameters import find_cmdlet
from ucmesh_simulator.pwsh_host.binding import bind
from ucmesh_simulator.pwsh_host.records import HostError
from ucmesh_simulator.requests_log import masked
from ucmesh_simulator.seed import SeedFile, TenantSpec
from ucmesh_simulator.tenant_builder import SeedError, build_tenant
from ucmesh_simulator.throttling import TenantBudget, WorldBudget, price
from ucmesh_simulator.world import World

ROOT = Path(__file__).resolve().parents[3]
TENANT = "5f0c2a64-3d0b-4c55-9d6c-0f4a6f3f6a01"


# -- time --------------------------------------------------------------------------------------------------------------


def test_the_two_dials_of_the_clock_move_apart() -> None:
    clock = SimClock(frozen_at=1_000.0)

    clock.advance(60, identity_seconds=5)

    assert (clock.now(), clock.identity_now()) == (1_060.0, 1_005.0)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


def test_times_survive_the_round_trip() -> None:
    assert parse_iso(iso(1_785_000_000.0)) == 1_785_000_000.0
    assert parse_iso("2026-08-04T22:58:23") == parse_iso("2026-08-04T22:58:23Z")


def test_a_replica_shows_changes_in_order_and_only_when_due() -> None:
    replica = Replica(attributes={"city": "Bern"})
    replica.change({"city": "Basel"}, arrives_at=10.0, now=0.0)
    replica.change({"city": "Zug"}, arrives_at=5.0, now=0.0)  # queued behind the first, so it cannot overtake

    assert replica.read(7.0)["city"] == "Bern"
    assert replica.read(10.0)["city"] == "Zug"


# -- knobs -------------------------------------------------------------------------------------------------------------


def test_zero_latency_switches_every_delay_and_the_limits_off() -> None:
    knobs = Knobs().patched({"zero_latency": True, "teams_provisioning_seconds": 2})

    delays = {name: value for name, value in knobs.as_dict().items() if name.endswith("_seconds")}
    assert {name for name, value in delays.items() if value} == {"teams_provisioning_seconds", "token_lifetime_seconds"}
    assert knobs.throttling is False


@pytest.mark.parametrize(
    "changes",
    [
        {"no_such_knob": 1},
        {"throttling": 1},
        {"index_lag_seconds": -1},
        {"replica_miss_probability": 2},
        {"index_lag_seconds": "1"},
    ],
)
def test_a_wrong_knob_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(KnobError, match=next(iter(changes))):
        Knobs().patched(changes)


# -- throttling --------------------------------------------------------------------------------------------------------


def test_a_request_costs_what_the_table_says() -> None:
    assert price("GET", 2, select=False, expand=False, top=None) == 2
    assert price("GET", 2, select=True, expand=False, top=5) == 1
    assert price("GET", 1, select=False, expand=True, top=None) == 2
    assert price("POST", 5, select=False, expand=False, top=None) == 1


def test_the_write_limit_holds_over_its_window_and_refills() -> None:
    budget, world = TenantBudget(), WorldBudget()

    def spend(now: float) -> Any:
        return budget.spend("app", "L", units=1, write=True, now=now, world=world, ids="app/tenant")

    passed = 0
    while (verdict := spend(1000.0)).retry_after_seconds is None:
        passed += 1

    assert passed == 3000
    assert verdict.information == "WriteLimitExceeded"
    assert verdict.scope == "Tenant_Application/Write/app/tenant"
    assert spend(1000.0 + 150).retry_after_seconds is None


def test_a_small_tenant_has_fewer_units_and_warns_before_the_end() -> None:
    budget, world = TenantBudget(), WorldBudget()

    used = [budget.spend("app", "S", units=5, write=False, now=1.0, world=world, ids="") for _ in range(700)]

    assert used[-1].retry_after_seconds is None
    assert used[-1].used == pytest.approx(1.0)
    assert used[500].used == pytest.approx(5 * 501 / 3500)
    assert budget.spend("app", "S", units=5, write=False, now=1.0, world=world, ids="").retry_after_seconds == 1


def test_two_tenants_of_one_app_share_only_the_apps_own_limit() -> None:
    world = WorldBudget()
    first, second = TenantBudget(), TenantBudget()
    for _ in range(3000):
        first.spend("app", "L", units=1, write=True, now=1.0, world=world, ids="")

    assert second.spend("app", "L", units=1, write=True, now=1.0, world=world, ids="").retry_after_seconds is None


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_fault_strikes_from_the_nth_match_for_its_times() -> None:
    plan = FaultPlan()
    plan.add({"action": "status", "method": "post", "path": "/users/*/assignLicense", "nth": 2, "times": 2})

    hits = [plan.strike("graph", "POST", "/users/1/assignLicense") is not None for _ in range(5)]

    assert hits == [False, True, True, False, False]
    assert plan.strike("graph", "GET", "/users/1/assignLicense") is None


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"action": "explode"},
        {"action": "status", "status": 200},
        {"action": "drop", "nth": -1},
        {"action": "drop", "x": 1},
        {"action": "powershell-error"},
        {"action": "drop", "face": "mail"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(description: dict[str, object]) -> None:
    with pytest.raises(FaultError):
        FaultPlan().add(description)


# -- filters -----------------------------------------------------------------------------------------------------------

ROW = {
    "displayName": "Adele",
    "employeeId": "NW-1",
    "accountEnabled": True,
    "proxyAddresses": ["SMTP:a@b.c"],
    "city": None,
    "assignedLicenses": [{"skuId": "x"}],
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("displayName eq 'adele'", True),
        ("displayName eq 'O''Brien' or employeeId eq 'NW-1'", True),
        ("(displayName eq 'x' or accountEnabled eq true) and city eq null", True),
        ("not (employeeId in ('NW-1','NW-2'))", False),
        ("startsWith(displayName,'ad') and employeeId ge 'NW-1'", True),
        ("proxyAddresses/any(p:p eq 'smtp:a@b.c')", True),
        ("assignedLicenses/any(l:l/skuId eq 'y')", False),
        ("displayName ne 'Adele'", False),
    ],
)
def test_odata_filters_evaluate(text: str, fits: bool) -> None:
    assert parse_odata(text).matches(ROW) is fits


def test_a_filter_names_the_keys_it_narrows_by() -> None:
    assert parse_odata("employeeId eq 'NW-1' and city eq 'Bern'").keys == {"employeeId": ("nw-1",), "city": ("bern",)}
    assert parse_odata("id eq 'a' or id eq 'b'").keys == {"id": ("a", "b")}
    assert parse_odata("id eq 'a' or city eq 'b'").keys == {}
    assert parse_odata("not (id eq 'a')").keys == {}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_400(text: str) -> None:
    statuses = []
    try:
        parse_odata(text).matches(ROW)
    except GraphError as refused:
        statuses.append(refused.status)
    assert set(statuses) <= {400}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_cmdlet_filter_or_refused(text: str) -> None:
    with contextlib.suppress(FilterError):
        parse_filter(text)({"identity": "x"})


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("LineURI -eq 'tel:+1234'", True),
        ("FeatureTypes -contains 'PhoneSystem' -and -not (Enabled -eq $true)", True),
        ("LineURI -like '*99' -or Missing -eq $null", True),
        ('LineURI -ne "tel:+1234"', False),
        ("{LineURI -gt 'tel:+1'}", True),
    ],
)
def test_cmdlet_filters_evaluate(text: str, fits: bool) -> None:
    row = {"lineuri": "tel:+1234", "featuretypes": ["Teams", "PhoneSystem"], "enabled": False}

    assert parse_filter(text)(row) is fits


# -- Graph -------------------------------------------------------------------------------------------------------------


def test_paths_are_matched_without_regard_to_case_and_ids_keep_theirs() -> None:
    route, ids = match("POST", ["Users", "A@b.C", "AssignLicense"])

    assert (route.shape, ids) == (("users", "*", "assignlicense"), ["A@b.C"])
    assert match("GET", ["applications(appId='X')"])[1] == ["(appId='X')"]
    with pytest.raises(GraphError) as unknown:
        match("GET", ["nothing"])
    with pytest.raises(GraphError) as method:
        match("PUT", ["users"])
    assert (unknown.value.status, method.value.status) == (400, 405)


def test_query_options_may_come_without_their_dollar() -> None:
    assert parse_query("select=id&$TOP=5&$filter=a%20eq%20%27b%26c%27") == {
        "$select": "id",
        "$top": "5",
        "$filter": "a eq 'b&c'",
    }


def test_a_batch_item_needs_its_dependency_before_it() -> None:
    with pytest.raises(GraphError):
        parse_batch({"requests": [{"id": "2", "dependsOn": ["1"], "method": "GET", "url": "/users"}]})
    assert parse_batch({"requests": [{"id": "1", "method": "get", "url": "users"}]})[0].url == "/users"


def test_secrets_are_masked_at_any_depth() -> None:
    assert masked({"a": [{"passwordProfile": {"password": "x"}, "keep": 1}]}) == {
        "a": [{"passwordProfile": "***", "keep": 1}]
    }


# -- Exchange ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_size", "shown"),
    [
        ("49.5GB", "49.5 GB (53,150,220,288 bytes)"),
        ("25 MB", "25 MB (26,214,400 bytes)"),
        ("Unlimited", "Unlimited"),
        (1024, "1024 B (1,024 bytes)"),
    ],
)
def test_sizes_are_shown_the_way_exchange_shows_them(given_size: object, shown: str) -> None:
    assert shown_size(given_size) == shown


# -- binding -----------------------------------------------------------------------------------------------------------


def bound(module: str, name: str, **given_values: Any) -> dict[str, Any]:
    cmdlet = find_cmdlet(module, name)
    assert cmdlet is not None
    return bind(cmdlet, given_values)


def test_names_bind_by_alias_and_unambiguous_beginning() -> None:
    assert bound(
        "MicrosoftTeams", "Set-CsPhoneNumberAssignment", identity="a", PhoneNumber="+1", NumberT="x", ErrorAction="Stop"
    ) == {
        "Identity": "a",
        "TelephoneNumber": "+1",
        "NumberType": "x",
    }


@pytest.mark.parametrize(
    ("name", "values", "fqid"),
    [
        ("Set-CsPhoneNumberAssignment", {"Identity": "a"}, "AmbiguousParameterSet"),
        ("Set-CsPhoneNumberAssignment", {"Identity": "a", "NumberType": "x"}, "MissingMandatoryParameter"),
        ("Set-CsPhoneNumberAssignment", {"N": "x"}, "AmbiguousParameter"),
        ("Set-CsPhoneNumberAssignment", {"Nope": "x"}, "NamedParameterNotFound"),
        ("Get-CsTenant", {"ResultSize": 1}, "NamedParameterNotFound"),
    ],
)
def test_what_does_not_bind_has_powershells_own_id(name: str, values: dict[str, Any], fqid: str) -> None:
    with pytest.raises(HostError) as caught:
        bound("MicrosoftTeams", name, **values)
    assert caught.value.frame["fqid"] == f"{fqid},{name}"


# -- seeds -------------------------------------------------------------------------------------------------------------


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


# -- generated files ---------------------------------------------------------------------------------------------------


def tool(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, ROOT / "simulator/tools" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_stub_modules_are_what_the_generator_writes() -> None:
    rendered = tool("generate_modules").render_all()

    for path, text in rendered.items():
        assert (ROOT / "simulator/modules" / path).read_text(encoding="utf-8") == text, f"run the generator: {path}"
