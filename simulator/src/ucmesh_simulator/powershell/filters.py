"""The `-Filter` strings of Teams and Exchange: `LineURI -eq 'tel:+1' -and -not (Enabled -eq $true)`. Owns a small
parser and evaluator for -eq -ne -like -notlike -gt -ge -lt -le -contains -and -or -not; anything else raises
FilterError."""

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]
LENGTH_MAX = 10_000
_TOKEN = re.compile(
    r"""\s*(?:(?P<single>'(?:[^']|'')*')|(?P<double>"(?:[^"]|"")*")|(?P<list>\[[^\]]*\])|(?P<operator>-[A-Za-z]+)"""
    r"""|(?P<mark>[(){}])|(?P<word>[$\w.:+/@-]+))"""
)


class FilterError(ValueError):
    """The text is no filter this parser understands."""


def parse_filter(text: str) -> Predicate:
    """Property names are case-insensitive, text comparison too. Raises FilterError."""
    if len(text) > LENGTH_MAX:
        raise FilterError("the filter is too long")
    tokens: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise FilterError(f"unexpected text at {position}: {text[position : position + 20]!r}")
        tokens.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        position = match.end()
    parser = _Parser([token for token in tokens if token[1] not in {"{", "}"}])
    return parser.run()


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def run(self) -> Predicate:
        result = self._or()
        if self._at != len(self._tokens):
            raise FilterError(f"unexpected {self._tokens[self._at][1]!r}")
        return result

    def _or(self) -> Predicate:
        left = self._and()
        while self._take("operator", "-or"):
            left = _either(left, self._and())
        return left

    def _and(self) -> Predicate:
        left = self._term()
        while self._take("operator", "-and"):
            left = _both(left, self._term())
        return left

    def _term(self) -> Predicate:
        if self._take("operator", "-not"):
            inner = self._term()
            return lambda row: not inner(row)
        if self._take("mark", "("):
            inner = self._or()
            if not self._take("mark", ")"):
                raise FilterError("a bracket is not closed")
            return inner
        name = self._next("word").lower()
        operator = self._next("operator").lower()
        compare = _COMPARE.get(operator)
        if compare is None:
            raise FilterError(f"{operator} is not a supported operator")
        value = self._value()
        return lambda row: compare(row.get(name), value)

    def _take(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens):
            found_kind, found = self._tokens[self._at]
            if found_kind == kind and found.lower() == text:
                self._at += 1
                return True
        return False

    def _next(self, kind: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != kind:
            raise FilterError("the filter ends early or has its parts in the wrong order")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _value(self) -> object:
        if self._at >= len(self._tokens):
            raise FilterError("a value is missing")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind in {"single", "double"}:
            quote = text[0]
            return text[1:-1].replace(quote * 2, quote)
        if kind == "list":
            return text[1:-1].strip().strip("'\"")
        constants: dict[str, object] = {"$true": True, "$false": False, "$null": None}
        return constants.get(text.lower(), text)


def _fold(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _equal(held: object, value: object) -> bool:
    if isinstance(held, bool) and isinstance(value, str):
        return str(held).lower() == value.lower()
    return _fold(held) == _fold(value) or (
        held is not None and value is not None and str(held).lower() == str(value).lower()
    )


def _like(held: object, value: object) -> bool:
    return fnmatch.fnmatchcase(str(held or "").lower(), str(value).lower())


def _contains(held: object, value: object) -> bool:
    return isinstance(held, list | tuple) and any(_equal(one, value) for one in held)


def _ordered(compare: Callable[[str, str], bool]) -> Callable[[object, object], bool]:
    return lambda held, value: held is not None and value is not None and compare(str(held).lower(), str(value).lower())


_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "-eq": _equal,
    "-ne": lambda held, value: not _equal(held, value),
    "-like": _like,
    "-notlike": lambda held, value: not _like(held, value),
    "-contains": _contains,
    "-gt": _ordered(lambda a, b: a > b),
    "-ge": _ordered(lambda a, b: a >= b),
    "-lt": _ordered(lambda a, b: a < b),
    "-le": _ordered(lambda a, b: a <= b),
}


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda row: left(row) and right(row)


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda row: left(row) or right(row)
