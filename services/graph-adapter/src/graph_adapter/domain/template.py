"""An operation template, compiled: what the state machine runs.

Owns the shapes. Refuses files and formats: `adapters/templates.py` reads YAML, validates it and builds these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from graph_adapter.domain.expressions import Value
from graph_adapter.domain.recognition import ErrorTable


class Repeatability(StrEnum):
    """What may be done after an answer was lost."""

    IDEMPOTENT = "idempotent"  # repeat freely
    CHECK_FIRST = "check-first"  # reads before it writes; repeating the write with the same values is harmless
    READ_BACK = "read-back"  # look before acting again


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the operation. `forbid` names object keys that must not be passed."""

    name: str
    kind: str
    required: bool
    forbid: frozenset[str] = frozenset()
    items_min: int = 0
    items_max: int = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a step. `permissions` (any one is enough) matter only when `optional`: without one the call is
    skipped.
    """

    slot: str
    method: str
    path: Value
    query: tuple[tuple[str, Value], ...]
    body: Value | None
    missing_ok: bool
    optional: bool
    permissions: tuple[str, ...]
    page_count_max: int

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True, slots=True)
class Success:
    """The end of an operation that was carried out. `undo_*` name the operation that reverses it exactly, if there is
    one; `creates`
    are the names of the directory object it made: for a while, "not found" about that object only means
    that a replica lags.
    """

    changed: Value
    output: Value
    creates: Value | None
    undo_operation: str | None
    undo_version: int
    undo_params: Value | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The end of an operation by a business no (or, with `failed`, for a technical reason)."""

    code: str
    message: str
    remedy: str | None
    failed: bool
    retryable: bool
    detail: Value


@dataclass(frozen=True, slots=True)
class Rule:
    """When something is so, then this: `success`, `refusal`, `go` (after a `pause`) or `again`. Repeating is bounded;
    beside `go` or `again`, `refusal` is the end when the bound is reached.

    `errors`: fits an error of that name (of the slot `of`); `lost`: fits when nobody knows whether the step's write
    was carried out; neither: fits when every answer is good (with the status, if any). `uncertain`: only if an
    earlier attempt's answer was lost.
    """

    errors: frozenset[str]
    of: str | None
    lost: bool
    status: int | None
    condition: Value | None
    uncertain: bool | None
    go: str | None = None
    success: Success | None = None
    refusal: Refusal | None = None
    again: bool = False
    pause: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Requests made together, or one question to our own ledger (`created_by`); variables to `compute` from good
    answers; and the rules for what comes back.
    """

    name: str
    calls: tuple[Call, ...]
    created_by: Value | None
    compute: tuple[tuple[str, Value], ...]
    rules: tuple[Rule, ...]
    writes: bool
    lost_rule: Rule | None

    def call(self, slot: str) -> Call:
        """The call whose answer is named `slot`."""
        return next(call for call in self.calls if call.slot == slot)


@dataclass(frozen=True, slots=True)
class Template:
    """One version of one operation. `permissions`: all rows are needed, any one of a row is enough, its first is the
    least privileged.
    """

    name: str
    version: int
    title: str
    repeatability: Repeatability
    permissions: tuple[tuple[str, ...], ...]
    parameters: tuple[Parameter, ...]
    objects: tuple[str, ...]
    first: str
    steps: Mapping[str, Step]

    @property
    def key(self) -> tuple[str, int]:
        return (self.name, self.version)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All operations and the error table: one consistent set, replaced as a whole on reload."""

    templates: Mapping[tuple[str, int], Template]
    errors: ErrorTable
    fingerprint: str


_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "object": (dict,),
    "list": (list,),
    "integer": (int,),
    "boolean": (bool,),
}
KINDS = frozenset(_KINDS)


def invalid_parameter(template: Template, params: Mapping[str, Any]) -> str | None:
    """What is wrong with the parameters of a command, in words without values; None when nothing is."""
    for parameter in template.parameters:
        value = params.get(parameter.name)
        if value is None:
            if parameter.required:
                return f"{parameter.name} is missing"
        elif (mistake := _mistake(parameter, value)) is not None:
            return f"{parameter.name} {mistake}"
    return None


def _mistake(parameter: Parameter, value: Any) -> str | None:
    if not isinstance(value, _KINDS[parameter.kind]):
        return f"must be of type {parameter.kind}"
    if isinstance(value, str) and not value.strip():
        return "is empty"
    if isinstance(value, dict) and (found := parameter.forbid.intersection(value)):
        return f"must not hold {', '.join(sorted(found))}"
    if isinstance(value, list) and not parameter.items_min <= len(value) <= parameter.items_max:
        return f"must have {parameter.items_min} to {parameter.items_max} items"
    return None
