"""The functions a template may call, as `{$name: argument}`: pure, total, small.

Owns their names and meaning; `FUNCTIONS` is the whole list (`$each` is the compiler's own). Refuses anything that
reaches outside its argument, except `$new-password`, whose value never leaves the request it is made for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from graph_adapter.domain.expressions import TemplateFault
from graph_adapter.domain.passwords import new_password

JsonObject = dict[str, Any]


def merge(objects: Any) -> JsonObject:
    """`$merge: [a, b]`: one object; later ones win, null counts as empty."""
    merged: JsonObject = {}
    for item in objects:
        merged.update(item or {})
    return merged


def changes(argument: Any) -> JsonObject:
    """`$changes: {wanted, current}`: the part of `wanted` that differs; a missing value equals null."""
    current = argument["current"] or {}
    return {key: value for key, value in (argument["wanted"] or {}).items() if current.get(key) != value}


def former(argument: Any) -> JsonObject:
    """`$former: {of, from, unless_null}`: what `from` held for the names of `of`; names in `unless_null` are left out
    where it held null.
    """
    source = argument["from"] or {}
    keep = argument.get("unless_null") or ()
    return {key: source.get(key) for key in argument["of"] or {} if source.get(key) is not None or key not in keep}


def without(argument: Any) -> JsonObject:
    """`$without: {of, names}`: the object without these names."""
    names = argument["names"]
    return {key: value for key, value in (argument["of"] or {}).items() if key not in names}


def keys(value: Any) -> list[str]:
    """`$keys: object`: its names."""
    return list(value or ())


def union(lists: Any) -> list[Any]:
    """`$union: [a, b]`: all items in order, each once."""
    seen: list[Any] = []
    for items in lists:
        for item in items or ():
            if item not in seen:
                seen.append(item)
    return seen


def concat(lists: Any) -> list[Any]:
    """`$concat: [a, b]`: all items in order."""
    return [item for items in lists for item in items or ()]


def _matches(item: Any, where: Mapping[str, Any]) -> bool:
    if not isinstance(item, dict):
        return False
    for key, wanted in where.items():
        found = item.get(key)
        if found not in wanted if isinstance(wanted, list) else found != wanted:
            return False
    return True


def find(argument: Any) -> Any:
    """`$find: {in, where}`: the first object whose named values equal (or are one of the listed ones), or null."""
    return next((item for item in argument["in"] or () if _matches(item, argument["where"])), None)


def select(argument: Any) -> list[Any]:
    """`$select: {in, where, unless}`: the objects that match `where` and do not match `unless`."""
    where, unless = argument.get("where") or {}, argument.get("unless")
    return [item for item in argument["in"] or () if _matches(item, where) and not (unless and _matches(item, unless))]


def pluck(argument: Any) -> list[Any]:
    """`$pluck: {in, key, where}`: that value of every (matching) object, nulls left out."""
    where = argument.get("where") or {}
    found = (item.get(argument["key"]) for item in argument["in"] or () if _matches(item, where))
    return [value for value in found if value is not None]


def first(values: Any) -> Any:
    """`$first: [a, b]`: the first value that is not null."""
    return next((value for value in values if value is not None), None)


def equal(pair: Any) -> bool:
    """`$equal: [a, b]`."""
    return bool(pair[0] == pair[1])


def same_text(pair: Any) -> bool:
    """`$same-text: [a, b]`: both are text and equal but for case."""
    left, right = pair
    return isinstance(left, str) and isinstance(right, str) and left.casefold() == right.casefold()


def empty(value: Any) -> bool:
    """`$empty: a`: null, "", [] or {}."""
    return value is None or value in ("", [], {})


def negate(value: Any) -> bool:
    """`$not: a`."""
    return not value


def every(values: Any) -> bool:
    """`$all: [a, b]`."""
    return all(values)


def some(values: Any) -> bool:
    """`$any: [a, b]`."""
    return any(values)


def not_before(argument: Any) -> bool:
    """`$not-before: {time, than, tolerance_seconds}`: `time` is at most that much earlier than `than`; false where a
    time is missing.
    """
    try:
        moment, than = (datetime.fromisoformat(argument[name]) for name in ("time", "than"))
    except (TypeError, ValueError):
        return False
    return moment >= than - timedelta(seconds=argument.get("tolerance_seconds", 0))


def licence_changes(argument: Any) -> JsonObject:
    """`$licence-changes: {add, remove, current}`: what an assignLicense call must still do, and what reverses it
    exactly.

    `add` is [{skuId, disabledPlans}], `remove` is [skuId], `current` the user's assignedLicenses. Answers {add,
    remove, undo_add, undo_remove}; `add` and `remove` are empty when the user already has it so.
    """
    held = {item["skuId"]: sorted(item.get("disabledPlans") or ()) for item in argument["current"] or ()}
    todo: JsonObject = {"add": [], "remove": [], "undo_add": [], "undo_remove": []}
    for licence in argument["add"] or ():
        sku, disabled = licence["skuId"], sorted(licence.get("disabledPlans") or ())
        if held.get(sku) == disabled:
            continue
        todo["add"].append({"skuId": sku, "disabledPlans": disabled})
        if sku in held:
            todo["undo_add"].append({"skuId": sku, "disabledPlans": held[sku]})
        else:
            todo["undo_remove"].append(sku)
    for sku in argument["remove"] or ():
        if sku in held:
            todo["remove"].append(sku)
            todo["undo_add"].append({"skuId": sku, "disabledPlans": held[sku]})
    return todo


def _new_password(_argument: Any) -> str:
    return new_password()


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "merge": merge,
    "changes": changes,
    "former": former,
    "without": without,
    "keys": keys,
    "union": union,
    "concat": concat,
    "find": find,
    "select": select,
    "pluck": pluck,
    "first": first,
    "equal": equal,
    "same-text": same_text,
    "empty": empty,
    "not": negate,
    "all": every,
    "any": some,
    "not-before": not_before,
    "licence-changes": licence_changes,
    "new-password": _new_password,
}


def guarded(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """Turns a wrong argument shape into a TemplateFault that names the function and shows no value."""

    def run(argument: Any) -> Any:
        try:
            return function(argument)
        except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
            raise TemplateFault(f"${name}: {type(error).__name__}") from error

    return run


GUARDED = {name: guarded(function, name) for name, function in FUNCTIONS.items()}
