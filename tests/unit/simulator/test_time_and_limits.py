"""Time, knobs, throttling budgets and faults."""

from typing import Any

import pytest

from ucmesh_simulator.clock import SimClock, iso, parse_iso
from ucmesh_simulator.faults import FaultError, FaultPlan
from ucmesh_simulator.knobs import KnobError, Knobs
from ucmesh_simulator.objects import Replica
from ucmesh_simulator.throttling import TenantBudget, WorldBudget, price


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
