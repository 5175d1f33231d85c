"""The verdict over a chaos run can fail: each way in which a licence or a number may be doubled is seen, what changed
nothing and what an undo explains is not.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from breaking.verdict import Expected, Picture, compare

UNDISTURBED = Picture(
    holdings={
        "NW-1": [{"upn": "a@x", "licences": ["SPE_E5"], "numbers": 1}],
        "NW-2": [{"upn": "b@x", "licences": ["SPE_E5"], "numbers": 1}],
    },
    users=2,
    seats={"SPE_E5": 2},
    numbers=2,
    plans=[],
    people={"NW-1": {"status": "provisioned"}, "NW-2": {"status": "provisioned"}, "NW-3": {"status": "compensated"}},
    numbers_held=Counter({"NW-1": 1, "NW-2": 1}),
    dead_letters=[],
    creations=3,
    effects=[],
)
EVERYBODY = [{"employee_id": each, "person": {"department": "Sales"}} for each in UNDISTURBED.people]


def effect(person: str, kind: str, what: str, given: int = 1, taken: int = 0) -> dict[str, Any]:
    return {"person": person, "kind": kind, "what": what, "given": given, "taken": taken}


WHOLE = [
    effect("NW-1", "licence", "SPE_E5"),
    effect("NW-1", "number", "+41"),
    effect("NW-2", "licence", "SPE_E5"),
    effect("NW-2", "number", "+42"),
    effect("NW-3", "licence", "SPE_E5", taken=1),
    effect("NW-3", "number", "+43", taken=1),
]


def doubled(effects: list[dict[str, Any]], **changes: Any) -> list[str]:
    found = replace(UNDISTURBED, effects=effects, **changes)
    rows = {row.name: row.who for row in compare(Expected.of(UNDISTURBED, EVERYBODY), found)}
    assert [name for name, who in rows.items() if who and name != "effects doubled"] == []
    return rows["effects doubled"]


def test_each_thing_given_once_and_taken_once_by_an_undo_holds() -> None:
    assert doubled(WHOLE) == []


def test_a_number_that_an_undone_plan_gave_back_may_go_to_somebody_else() -> None:
    assert doubled([*WHOLE[:3], effect("NW-2", "number", "+43"), *WHOLE[4:]]) == []


def test_those_whom_the_run_did_not_send_are_left_out() -> None:
    assert doubled([*WHOLE, effect("NW-BOSS", "licence", "SPE_E5", given=2, taken=1)]) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (effect("NW-1", "licence", "SPE_E3", given=2), "SPE_E3 given 2 times"),
        (effect("NW-1", "licence", "SPE_E3", given=2, taken=1), "SPE_E3 given 2 times"),
        (effect("NW-1", "licence", "SPE_E3", given=1, taken=1), "taken 1 times"),
        (effect("NW-1", "number", "+49"), "NW-1 was given the numbers +41, +49"),
        (effect("NW-1", "number", "+49", taken=1), "NW-1 was given the numbers +41, +49"),
        (effect("NW-2", "number", "+41"), "number +41 was given to NW-1, NW-2"),
        (effect("NW-3", "number", "+49", given=2, taken=2), "given 2 times, taken 2 times"),
    ],
    ids=[
        "licence twice",
        "licence given, taken, given again",
        "licence taken although nothing was undone",
        "two numbers at once",
        "two numbers one after the other",
        "one number for two persons",
        "an undone number given and taken twice",
    ],
)
def test_what_was_doubled_is_seen_although_the_end_looks_right(more: dict[str, Any], said: str) -> None:
    assert any(said in line for line in doubled([*WHOLE, more]))
