"""Number ranges in an admin's hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.numbers import InvalidNumberError, expand, parse, region


def test_a_range_holds_both_ends():
    assert expand("+41445551000", "+41445551002") == ("+41445551000", "+41445551001", "+41445551002")


@given(st.integers(0, 9_000), st.integers(0, 999))
def test_a_range_is_ascending_and_complete(start, count):
    first, last = f"+4144555{start:04d}", f"+4144555{min(start + count, 9_999):04d}"
    numbers = expand(first, last)
    assert numbers[0] == first
    assert numbers[-1] == last
    assert len(numbers) == min(count, 9_999 - start) + 1
    assert list(numbers) == sorted(numbers)


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        ("+41445551005", "+41445551000", "ends"),
        ("+41445551000", "+493023125100", "country"),
        ("0445551000", "0445551005", "form"),
        ("+41 44 555 10 00", "+41445551005", "E.164"),
        ("+4144555", "+4144556", "short"),
        ("+41440000000", "+41449999999", "split"),
    ],
)
def test_a_range_that_is_none_says_why(first, last, why):
    with pytest.raises(InvalidNumberError, match=why):
        expand(first, last)


def test_a_number_knows_its_country():
    assert region("+442079460100") == "GB"
    assert parse("+41445551000").country_code == 41
