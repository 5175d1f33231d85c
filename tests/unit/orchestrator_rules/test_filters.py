"""Filter rows: conditions, negation, and strictly left to right."""

import itertools
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.filters import Filter, InvalidPatternError, Row, compile_filter


def matches(attributes, *rows):
    return compile_filter(Filter("f", "move", rows)).matches(attributes)


@pytest.mark.parametrize(
    ("row", "text", "hit"),
    [
        (Row("city", "equals", "Zürich"), "ZÜRICH", True),
        (Row("city", "equals", "Zürich", ignore_case=False), "ZÜRICH", False),
        (Row("city", "equals", "Zürich"), "Zürich Nord", False),
        (Row("city", "contains", "zürich"), "Zürich Nord", True),
        (Row("city", "contains", "Nord", ignore_case=False), "Zürich nord", False),
        (Row("city", "regex", "^z.+h$"), "Zürich", True),
        (Row("city", "regex", "ric"), "Zürich", True),
        (Row("city", "regex", "^ric"), "Zürich", False),
        (Row("city", "regex", "ZÜR", ignore_case=False), "Zürich", False),
        (Row("city", "equals", "Zürich", negated=True), "Berlin", True),
        (Row("city", "equals", ""), "", True),
        (Row("city", "equals", "Stra\u00dfe"), "STRASSE", True),
    ],
)
def test_a_row_hits_what_it_says(row, text, hit):
    assert matches({"city": text}, row) is hit


def test_a_missing_attribute_is_the_empty_text():
    assert matches({}, Row("division", "equals", ""))
    assert not matches({}, Row("division", "regex", "."))


def test_one_expression_is_asked_with_and_without_case_about_the_same_texts():
    for text, folded, exact in [("ZÜRICH", True, False), ("zürich", True, True), ("ZÜRICH", True, False)]:
        assert matches({"city": text}, Row("city", "regex", "^zü.ich$")) is folded
        assert matches({"city": text}, Row("city", "regex", "^zü.ich$", ignore_case=False)) is exact
        assert matches({"city": text}, Row("city", "regex", "^bern")) is False


def test_rows_are_joined_left_to_right_without_precedence():
    yes, no = Row("a", "equals", "x"), Row("a", "equals", "y")
    # (yes or yes) and no, where a precedence of "and" would say yes.
    first = Row("a", "equals", "x", joins="or")
    second = Row("a", "equals", "x", joins="and")
    assert not matches({"a": "x"}, first, second, no)
    assert matches({"a": "x"}, first, Row("a", "equals", "y", joins="and"), yes)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(["and", "or"])), min_size=1, max_size=12))
def test_any_rows_fold_from_the_left(parts):
    rows = [Row("a", "equals", "x" if hit else "y", negated=negated, joins=joins) for hit, negated, joins in parts]
    expected = parts[0][0] is not parts[0][1]
    for (_, _, joins), (hit, negated, _) in itertools.pairwise(parts):
        value = hit is not negated
        expected = (expected and value) if joins == "and" else (expected or value)
    assert matches({"a": "x"}, *rows) is expected


@pytest.mark.parametrize("pattern", ["(?<=a)b", "(a)\\1", "(", "a{99999}"])
def test_expressions_that_cannot_run_in_linear_time_are_refused_with_the_reason(pattern):
    with pytest.raises(InvalidPatternError, match="RE2"):
        compile_filter(Filter("f", "move", (Row("a", "regex", pattern),)))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_breaks_equals_and_contains(value, text):
    composed = normalize("NFC", value)
    assert matches({"a": text}, Row("a", "equals", value, ignore_case=False)) is (composed == text)
    assert matches({"a": text}, Row("a", "contains", value, ignore_case=False)) is (composed in text)
    assert matches({"a": text + composed}, Row("a", "contains", value, ignore_case=False))
