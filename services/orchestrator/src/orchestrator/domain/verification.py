"""Expectations and references: does an output say what we expect, and what does a parameter refer to?

Owns the little language of dotted paths and operators used by waits (`ready`), read-back (`expect`) and `$from`:

    "user.AccountEnabled": true                    equal
    "user.LineURI": {"$ignore_case": "tel:+41..."}   equal but for the case of letters
    "user.assignedLicenses.skuId": {"$contains": x}  a path through a list collects the field of every element
    {"$contains_all": [..]} {"$one_of": [..]} {"$exists": true} {"$not": <expectation>}

It never evaluates text as code and treats an unknown operator as a defect of the plan, not as a mismatch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan import PlanError


@lean_dataclass(frozen=True, slots=True)
class Missing:
    """The value of a path that leads nowhere; equal to None in expectations, an error in references."""


MISSING = Missing()


@lean_dataclass(frozen=True, slots=True)
class Difference:
    """One unfulfilled expectation: what was expected at `path` and what was read (None when nothing was there)."""

    path: str
    expected: Any
    actual: Any


class UnresolvedReferenceError(LookupError):
    """A `$from` reference leads to an output that does not exist."""


def lookup(document: Any, path: str) -> Any:
    """The value at a dotted path, MISSING if it leads nowhere. Through a list, the list of the elements' values."""
    return _walk(document, path.split(".") if path else [])


def _walk(value: Any, steps: Sequence[str]) -> Any:
    for index, step in enumerate(steps):
        if isinstance(value, dict):
            if step not in value:
                return MISSING
            value = value[step]
        elif isinstance(value, (list, tuple)):
            if step.isdigit():
                if int(step) >= len(value):
                    return MISSING
                value = value[int(step)]
                continue
            found = (_walk(element, steps[index:]) for element in value)
            return [element for element in found if not isinstance(element, Missing)]
        else:
            return MISSING
    return value


def differences(expected: Mapping[str, Any], output: Any) -> list[Difference]:
    """The expectations that `output` does not fulfil, in their order. Raises PlanError for an unknown operator."""
    found = []
    for path, wanted in expected.items():
        actual = lookup(output, path)
        if not _fulfils(wanted, actual):
            found.append(Difference(path, wanted, None if isinstance(actual, Missing) else actual))
    return found


def _fulfils(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, dict) and len(wanted) == 1:
        operator, operand = next(iter(wanted.items()))
        if operator.startswith("$"):
            return _operator(operator, operand, actual)
    return bool((None if isinstance(actual, Missing) else actual) == wanted)


def _operator(operator: str, operand: Any, actual: Any) -> bool:
    elements = actual if isinstance(actual, list | tuple) else []
    match operator:
        case "$exists":
            return (not isinstance(actual, Missing) and actual is not None) == bool(operand)
        case "$ignore_case":
            return bool(_folded(actual) == _folded(operand))
        case "$contains":
            return _folded(operand) in [_folded(element) for element in elements]
        case "$contains_all":
            return {_key(element) for element in operand} <= {_key(element) for element in elements}
        case "$one_of":
            return any(_fulfils(choice, actual) for choice in operand)
        case "$not":
            return not _fulfils(operand, actual)
        case _:
            raise PlanError(f"unknown operator {operator!r} in an expectation")


def _folded(value: Any) -> Any:
    # Directory ids, UPNs and group ids differ in case between Microsoft's own services.
    return value.casefold() if isinstance(value, str) else value


def _key(value: Any) -> str:
    return repr(_folded(value))


def resolve(value: Any, outputs: Mapping[str, Any]) -> Any:
    """`value` with every `{"$from": key, "path": path}` replaced by that output; everything else is kept as it is.

    Raises UnresolvedReferenceError when the operation has no output or the path leads nowhere.
    """
    if isinstance(value, dict):
        if "$from" in value:
            return _referred(str(value["$from"]), str(value.get("path", "")), outputs)
        return {key: resolve(inner, outputs) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(inner, outputs) for inner in value]
    return value


def _referred(key: str, path: str, outputs: Mapping[str, Any]) -> Any:
    found = lookup(outputs[key], path) if key in outputs else MISSING
    if isinstance(found, Missing):
        raise UnresolvedReferenceError(f"output of {key!r} has nothing at {path!r}")
    return found
