"""Filter criteria: a customer's rules about a person's attributes, row by row.

    NOT? attribute (equals | contains | regex) value   [and | or]   next row ...

Owns how rows are evaluated: strictly left to right, no precedence, a missing attribute is the empty text, `regex`
searches (it need not match the whole). Values are compared in Unicode's composed form (NFC), in which people's
attributes come too. Refuses expressions RE2 cannot run in linear time (look-around, back references).
Source: reference domain.md 9.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal
from unicodedata import normalize

import re2

from mesh_runtime.values import lean_dataclass

Condition = Literal["equals", "contains", "regex"]
Usage = Literal["move", "flow-through"]
Test = Callable[[str], bool]

VALUE_LENGTH_MAX = 1_000
REGEX_MEMORY_BYTES_MAX = 1 << 20
ANSWERS_MAX = 8_192
"""Answers of expressions that are remembered: most attributes have few values, and filters repeat each other."""


class InvalidPatternError(ValueError):
    """The row's regular expression cannot be used; the text says what RE2 did not like."""


@lean_dataclass(frozen=True, slots=True)
class Row:
    """One row; `joins` combines it with the NEXT row and is unused on the last one."""

    attribute: str
    condition: Condition
    value: str
    ignore_case: bool = True
    negated: bool = False
    joins: Literal["and", "or"] = "and"


@lean_dataclass(frozen=True, slots=True)
class Filter:
    name: str
    usage: Usage
    rows: tuple[Row, ...]


@lean_dataclass(frozen=True, slots=True)
class CompiledFilter:
    """A filter ready to test many people; made once per configuration version."""

    name: str
    tests: tuple[tuple[str, Test, bool, bool], ...]  # attribute, test, negated, joins-with-or

    def matches(self, attributes: Mapping[str, str]) -> bool:
        verdict = True
        or_joined = False
        for attribute, test, negated, joins_or in self.tests:
            hit = test(attributes.get(attribute, "")) is not negated
            verdict = (verdict or hit) if or_joined else (verdict and hit)
            or_joined = joins_or
        return verdict


def compile_filter(criteria: Filter) -> CompiledFilter:
    """Raises InvalidPatternError when a row's expression is not one RE2 can run."""
    return CompiledFilter(
        criteria.name,
        tuple((row.attribute, compile_test(row), row.negated, row.joins == "or") for row in criteria.rows),
    )


def compile_test(row: Row) -> Test:
    value = normalize("NFC", row.value)
    if row.condition == "regex":
        return _searching(value, row.ignore_case)
    if row.ignore_case:
        folded = value.casefold()
        if row.condition == "equals":
            return lambda text: text.casefold() == folded
        return lambda text: folded in text.casefold()
    if row.condition == "equals":
        return lambda text: text == value
    return lambda text: value in text


def _searching(pattern: str, ignore_case: bool) -> Test:
    compiled = _compiled(pattern, ignore_case)
    return lambda text: _found(compiled, text)


@lru_cache(maxsize=1_024)
def _compiled(pattern: str, ignore_case: bool) -> Any:
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = REGEX_MEMORY_BYTES_MAX
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidPatternError(_reason(error)) from error


@lru_cache(maxsize=ANSWERS_MAX)
def _found(compiled: Any, text: str) -> bool:
    # In a text RE2's binding keeps count of characters beside bytes, which nobody asks for here.
    return compiled.search(text.encode()) is not None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else str(error)
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    return f"{text} (expressions follow RE2: no look-around, no back references)"
