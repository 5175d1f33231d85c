"""Plans as values, the language of expectations, pauses, and what goes through JSON."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.plan import Operation, PlanBuilder, PlanError, ref
from orchestrator.domain.plan_status import operation_from_json, operation_to_json
from orchestrator.domain.retry import LAG_WEIGHT, Retry, Wait, backoff_seconds, first_poll_seconds, poll_seconds
from orchestrator.domain.verification import UnresolvedReferenceError, differences, lookup, resolve
from support.plan_script import TENANT, op


def builder() -> PlanBuilder:
    return PlanBuilder(
        plan_id=UUID(int=1), customer="northwind", tenant_id=TENANT, employee_id="NW-1", person_id=UUID(int=2)
    )


def test_a_plan_comes_in_an_order_in_which_everything_needed_is_first():
    plan = builder()
    plan.add(op("number", "teams"))
    plan.add(op("teams", "licence"))
    plan.add(op("licence", params={"user": ref("user", "id")}))
    plan.add(op("user"))
    made = plan.build()
    assert [operation.key for operation in made.operations] == ["user", "licence", "teams", "number"]
    assert made.operations[1].depends_on == ("user",), "a reference is a dependency"


def test_keys_come_back_for_what_follows():
    plan = builder()
    user = plan.add(op("user"))
    plan.add_all([op("a"), op("b")], after=user)
    assert [operation.depends_on for operation in plan.build().operations] == [(), ("user",), ("user",)]


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ([op("a", "b")], "depends on b"),
        ([op("a", "b"), op("b", "a")], "circular dependencies among a, b"),
        ([op("a", params={"x": {"y": [ref("gone", "id")]}})], "depends on gone"),
        ([op("a", expect={"id": ref("gone", "id")})], "depends on gone"),
        ([op(f"k{n}") for n in range(201)], "201 operations"),
    ],
)
def test_a_plan_that_could_not_be_carried_out_is_not_built(operations: list[Operation], said: str):
    plan = builder()
    plan.add_all(operations)
    with pytest.raises(PlanError, match=said):
        plan.build()


def test_two_operations_of_one_key_are_refused():
    plan = builder()
    plan.add(op("user"))
    with pytest.raises(PlanError, match="user"):
        plan.add(op("user"))


DOCUMENT = {"user": {"id": "A", "on": True, "licences": [{"sku": "E5", "off": []}, {"sku": "PSTN"}], "line": None}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("user.id", "A"),
        ("user.licences.sku", ["E5", "PSTN"]),
        ("user.licences.1.sku", "PSTN"),
        ("user.licences.off", [[]]),
        ("", DOCUMENT),
    ],
)
def test_lookup_follows_dots_numbers_and_lists(path: str, found: object):
    assert lookup(DOCUMENT, path) == found


@pytest.mark.parametrize(
    "expected",
    [
        {"user.id": "A", "user.on": True},
        {"user.id": {"$ignore_case": "a"}},
        {"user.licences.sku": {"$contains": "e5"}},
        {"user.licences.sku": {"$contains_all": ["pstn", "E5"]}},
        {"user.id": {"$one_of": ["B", {"$ignore_case": "a"}]}},
        {"user.line": None, "user.never": None},
        {"user.line": {"$exists": False}, "user.id": {"$exists": True}},
        {"user.licences.sku": {"$not": {"$contains": "E3"}}},
        {"user.licences.0": {"sku": "E5", "off": []}},
    ],
)
def test_fulfilled_expectations(expected: dict[str, object]):
    assert differences(expected, DOCUMENT) == []


@pytest.mark.parametrize(
    "expected",
    [
        {"user.id": "a"},
        {"user.id.more": "A"},
        {"user.licences.9.sku": "E5"},
        {"user.licences.sku": {"$contains_all": ["E5", "E3"]}},
        {"user.id": {"$contains": "A"}},
        {"user.line": {"$exists": True}},
        {"user.id": {"$not": "A"}},
        {"user.id": {"$one_of": []}},
    ],
)
def test_unfulfilled_expectations_say_where_and_what(expected: dict[str, object]):
    [difference] = differences(expected, DOCUMENT)
    assert difference.path == next(iter(expected))


def test_an_unknown_operator_is_a_defect_of_the_plan():
    with pytest.raises(PlanError, match="like"):
        differences({"user.id": {"$like": "A"}}, DOCUMENT)


def test_references_are_replaced_wherever_they_stand():
    params = {"user": ref("user", "id"), "list": [ref("user", "tags"), 1], "plain": {"a": "b"}}
    outputs = {"user": {"id": "A", "tags": ["x"]}}
    assert resolve(params, outputs) == {"user": "A", "list": [["x"], 1], "plain": {"a": "b"}}
    for broken in (ref("user", "none"), ref("other", "id")):
        with pytest.raises(UnresolvedReferenceError):
            resolve({"x": broken}, outputs)


@given(st.integers(1, 10_000), st.integers(0, 2**128 - 1))
def test_pauses_grow_to_their_cap_and_stay_near_it(step: int, seed: int):
    retry, wait = Retry(first_seconds=1, factor=2, cap_seconds=60), Wait(first_seconds=1, factor=1.5, cap_seconds=60)
    for pause in (backoff_seconds(retry, step, seed), poll_seconds(wait, step, seed)):
        assert 1 <= pause <= 72


def test_the_first_poll_follows_what_was_learned_within_bounds():
    wait = Wait(first_seconds=10, cap_seconds=300, deadline_seconds=400)
    assert first_poll_seconds(wait, None) == 10
    assert first_poll_seconds(wait, 100) == 60
    assert first_poll_seconds(wait, 4000) == 200


def test_a_tenant_that_got_faster_is_noticed():
    mean = 600.0
    for _ in range(20):
        mean += LAG_WEIGHT * (first_poll_seconds(Wait(deadline_seconds=86_400), mean) - mean)
    assert mean < 60


@pytest.mark.parametrize("fields", [{"attempts_max": 0}, {"attempts_max": 101}, {"factor": 0.5}, {"first_seconds": -1}])
def test_retries_without_bounds_are_refused(fields: dict[str, float]):
    with pytest.raises(ValueError, match="must"):
        Retry(**fields)  # type: ignore[arg-type]


def test_operations_come_back_from_json_as_they_were():
    full = op(
        "a",
        "b",
        params={"x": ref("b", "id")},
        failure="hold",
        retry=Retry(attempts_max=9),
        wait=Wait(first_seconds=1, ready={"a": 1}, gate="g"),
        expect={"a": {"$contains": "b"}},
        timeout_seconds=7,
        compensates=False,
        permission="User.Read.All",
        before="x",
        after="y",
    )
    for operation in (full, op("a")):
        assert operation_from_json(operation_to_json(operation)) == operation
    assert operation_from_json(operation_to_json(op("a"))[:-1] + ',"newer":1}') == op("a")
