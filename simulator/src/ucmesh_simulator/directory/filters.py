"""OData `$filter`. Owns a small parser and evaluator: eq, ne, in, gt/ge/lt/le, startsWith, endsWith, and/or/not,
parentheses, `any()` over string collections; anything else is 400. Operators Graph keeps for advanced queries are
marked, the caller checks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ucmesh_simulator.directory.errors import GraphError, bad_request

Predicate = Callable[[Mapping[str, Any]], bool]

FILTER_LENGTH_MAX = 15_000
_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<word>[A-Za-z_][\w./-]*|\d[\w:.+-]*)|(?P<mark>[(),:]))",
)


@dataclass(frozen=True, slots=True)
class Filter:
    """`names` are the properties used; `keys` narrows to candidates by equality (property -> values) when the whole
    filter allows."""

    matches: Predicate
    names: frozenset[str]
    advanced: bool
    keys: Mapping[str, tuple[str, ...]]


def parse_filter(text: str) -> Filter:
    """Raises GraphError 400."""
    if len(text) > FILTER_LENGTH_MAX:
        raise bad_request("Invalid filter clause: too long.", "BadRequest")
    return _Parser(_tokens(text), text).run()


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _wrong(text)
        kind = str(match.lastgroup)
        found.append((kind, match.group(kind)))
        position = match.end()
    return found


def _wrong(text: str) -> GraphError:
    return bad_request(f"Invalid filter clause: {text[:200]}", "BadRequest")


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self._tokens = tokens
        self._text = text
        self._at = 0
        self._depth = 0
        self.names: set[str] = set()
        self.advanced = False

    def run(self) -> Filter:
        matches, keys = self._or()
        if self._at != len(self._tokens):
            raise _wrong(self._text)
        return Filter(matches, frozenset(self.names), self.advanced, keys)

    # -- grammar ------------------------------------------------------------------------------------------------------
    def _or(self) -> tuple[Predicate, dict[str, tuple[str, ...]]]:
        left, keys = self._and()
        while self._word("or"):
            right, other = self._and()
            left = _either(left, right)
            shared = set(keys) & set(other)
            keys = {name: keys[name] + other[name] for name in shared}
        return left, keys

    def _and(self) -> tuple[Predicate, dict[str, tuple[str, ...]]]:
        left, keys = self._term()
        while self._word("and"):
            right, other = self._term()
            left = _both(left, right)
            keys = {**other, **keys}
        return left, keys

    def _term(self) -> tuple[Predicate, dict[str, tuple[str, ...]]]:
        self._depth += 1
        if self._depth > 200:
            raise _wrong(self._text)
        if self._word("not"):
            self.advanced = True
            inner, _ = self._term()
            return (lambda row: not inner(row)), {}
        if self._mark("("):
            inner_pair = self._or()
            self._need(")")
            return inner_pair
        word = self._next_word()
        if self._mark("("):
            return self._function(word), {}
        if word.lower().endswith("/any"):
            raise _wrong(self._text)
        return self._comparison(word)

    def _comparison(self, name: str) -> tuple[Predicate, dict[str, tuple[str, ...]]]:
        self.names.add(name.partition("/")[0])
        operator = self._next_word().lower()
        if operator == "in":
            self._need("(")
            values = [self._value()]
            while self._mark(","):
                values.append(self._value())
            self._need(")")
            lowered = [_fold(value) for value in values]
            return (lambda row: _fold(_get(row, name)) in lowered), {name: tuple(str(one) for one in lowered)}
        value = _fold(self._value())
        if operator == "eq":
            keys: dict[str, tuple[str, ...]] = {name: (value,)} if isinstance(value, str) else {}
            return (lambda row: _fold(_get(row, name)) == value), keys
        if operator == "ne":
            self.advanced = True
            return (lambda row: _fold(_get(row, name)) != value), {}
        if operator in _ORDER:
            compare = _ORDER[operator]
            return (lambda row: _ordered(compare, _get(row, name), value)), {}
        raise _wrong(self._text)

    def _function(self, name: str) -> Predicate:
        lowered = name.lower()
        if lowered.endswith("/any"):
            return self._any(name[: -len("/any")])
        prop = self._next_word()
        self._need(",")
        value = _fold(self._value())
        self._need(")")
        self.names.add(prop.partition("/")[0])
        if not isinstance(value, str):
            raise _wrong(self._text)
        if lowered == "startswith":
            return lambda row: str(_fold(_get(row, prop) or "")).startswith(value)
        if lowered == "endswith":
            self.advanced = True
            return lambda row: str(_fold(_get(row, prop) or "")).endswith(value)
        raise _wrong(self._text)

    def _any(self, prop: str) -> Predicate:
        """`proxyAddresses/any(p:p eq 'smtp:a@b')`, also `p/skuId eq …` for collections of objects."""
        self.names.add(prop)
        variable = self._next_word()
        self._need(":")
        path = self._next_word()
        operator = self._next_word().lower()
        value = _fold(self._value())
        self._need(")")
        if operator != "eq" or not (path == variable or path.startswith(f"{variable}/")):
            raise _wrong(self._text)
        inner = path[len(variable) + 1 :]

        def matches(row: Mapping[str, Any]) -> bool:
            return any(
                _fold(item.get(inner) if inner and isinstance(item, dict) else item) == value
                for item in row.get(prop) or ()
            )

        return matches

    # -- tokens -------------------------------------------------------------------------------------------------------
    def _word(self, word: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("word", word):
            self._at += 1
            return True
        return False

    def _mark(self, mark: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("mark", mark):
            self._at += 1
            return True
        return False

    def _need(self, mark: str) -> None:
        if not self._mark(mark):
            raise _wrong(self._text)

    def _next_word(self) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != "word":
            raise _wrong(self._text)
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _value(self) -> object:
        if self._at >= len(self._tokens):
            raise _wrong(self._text)
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "string":
            return text[1:-1].replace("''", "'")
        literal: object = {"true": True, "false": False, "null": None}.get(text, text)
        if kind == "word" and isinstance(literal, str) and literal.isdecimal():
            return int(literal)
        return literal


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda row: left(row) and right(row)


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda row: left(row) or right(row)


def _ordered(compare: Callable[[Any, Any], bool], held: object, value: object) -> bool:
    held = _fold(held)
    return type(held) is type(value) and held is not None and compare(held, value)


def _get(row: Mapping[str, Any], name: str) -> object:
    value: object = row
    for part in name.split("/"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _fold(value: object) -> object:
    return value.lower() if isinstance(value, str) else value
