"""What a token allows, who is served next, how requests are packed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_adapter.domain.capabilities import capability_map, missing_permissions, permission_refusal
from graph_adapter.domain.fairness import Backlog, Limits, Share, candidates, shares
from graph_adapter.domain.packing import packs
from support.graph_script import catalogue

TEMPLATES = catalogue().templates


def test_any_permission_of_a_row_is_enough() -> None:
    template = TEMPLATES[("group.add-member", 1)]
    for role in ("GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.ReadWrite.All"):
        assert missing_permissions(template, frozenset({role})) == []
    assert missing_permissions(template, frozenset({"User.Read.All"})) == ["GroupMember.ReadWrite.All"]


def test_every_row_is_needed() -> None:
    template = TEMPLATES[("licence.assign", 1)]
    assert missing_permissions(template, frozenset({"LicenseAssignment.ReadWrite.All"})) == ["User.Read.All"]
    assert missing_permissions(template, frozenset({"User.ReadWrite.All"})) == []


def test_the_map_names_the_least_permission_for_every_operation() -> None:
    found = capability_map(TEMPLATES.values(), frozenset({"User.ReadWrite.All", "Organization.Read.All"}))
    assert set(found) == {name for name, _ in TEMPLATES}
    assert found["user.ensure"] == {"allowed": True, "missing": []}
    assert found["application.add-key"] == {"allowed": False, "missing": ["Application.ReadWrite.OwnedBy"]}


def test_a_missing_permission_is_refused_with_its_name_before_anything_is_sent() -> None:
    refusal = permission_refusal(TEMPLATES[("user.ensure", 1)], frozenset())
    assert refusal is not None
    assert refusal.error is not None
    assert refusal.error.code == "permission-missing"
    assert "User.ReadWrite.All" in (refusal.error.remedy or "")


def test_without_a_readable_token_nothing_is_forbidden() -> None:
    assert permission_refusal(TEMPLATES[("user.ensure", 1)], None) is None


# fairness -------------------------------------------------------------------------------------------------------------
def tenants(*names: str, urgent: str = "") -> list[Backlog]:
    return [Backlog(name, name in urgent.split()) for name in names]


CASES: dict[str, tuple[list[Backlog], dict[str, int], Limits, str | None, list[str]]] = {
    "one tenant alone": (tenants("a"), {}, Limits(), None, ["a"]),
    "urgent work goes first": (tenants("a", "b", urgent="b"), {}, Limits(), None, ["b", "a"]),
    "a tenant without a run goes before one that has": (tenants("a", "b"), {"a": 1}, Limits(), None, ["b", "a"]),
    "the circle goes on after the last served": (tenants("a", "b", "c"), {}, Limits(), "a", ["b", "c", "a"]),
    "nobody runs more often than its bound": (tenants("a"), {"a": 3}, Limits(runs_per_tenant_max=3), None, []),
    "but for one more run of what is urgent": (
        tenants("a", "b", urgent="b"),
        {"a": 3, "b": 3},
        Limits(runs_per_tenant_max=3),
        None,
        ["b"],
    ),
    "and only one": (tenants("b", urgent="b"), {"b": 4}, Limits(runs_per_tenant_max=3), None, []),
    "no free run, nobody": (tenants("a"), {"b": 24}, Limits(runs_max=24), None, []),
    "no more than could be served": (tenants("a", "b", "c", "d"), {}, Limits(runs_max=1), None, ["a", "b"]),
}


@pytest.mark.parametrize(("waiting", "running", "limits", "last", "served"), CASES.values(), ids=CASES.keys())
def test_who_is_served(
    waiting: list[Backlog], running: dict[str, int], limits: Limits, last: str | None, served: list[str]
) -> None:
    assert candidates(waiting, running, limits, last) == served


def test_the_share_is_what_the_cap_leaves() -> None:
    limits = Limits(run_size_max=200, tenant_in_flight_max=600, runs_max=3)
    in_flight = {"a": 550, "b": 600, "d": 0, "e": 0, "f": 0}
    granted = shares(["a", "b", "c", "d", "e", "f"], in_flight, {}, limits)
    # b is full, c is served by somebody else, f comes too late for a free run.
    assert granted == [Share("a", 50), Share("d", 200), Share("e", 200)]


@given(st.integers(2, 30), st.integers(1, 8))
def test_over_time_everybody_is_served_equally(tenant_count: int, runs_max: int) -> None:
    names = [f"t{number:02}" for number in range(tenant_count)]
    served: Counter[str] = Counter()
    limits, last = Limits(runs_max=runs_max), None
    for _ in range(tenant_count):
        wanted = candidates(tenants(*names), {}, limits, last)
        granted = [share.tenant_id for share in shares(wanted, dict.fromkeys(wanted, 0), {}, limits)]
        served.update(granted)
        last = granted[-1]
    assert max(served.values()) - min(served[name] for name in names) <= 1


# packing --------------------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(), max_size=300))
def test_packs_hold_everything_in_order_within_the_bound(items: list[int]) -> None:
    cut = packs(items)
    assert [item for pack in cut for item in pack] == items
    assert all(1 <= len(pack) <= 20 for pack in cut)
    assert len(cut) == -(-len(items) // 20)
    assert not cut or max(map(len, cut)) - min(map(len, cut)) <= 1
