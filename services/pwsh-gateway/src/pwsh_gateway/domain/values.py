"""Typed values of the catalogue: what a parameter may be, and when two values mean the same to Microsoft.

Owns validation before anything reaches a session, and comparison of what a cmdlet reads with what an operation wants.
Refuses text where a type is declared: empty or wildcard identities, control characters, names that are not on the list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mesh_runtime.errors import InvalidInput

Kind = Literal[
    "string",
    "identity",
    "guid",
    "e164",
    "bool",
    "int",
    "enum",
    "smtp",
    "strings",
    "size",
    "policy",
    "line-uri",
    "json",
]
KINDS: tuple[str, ...] = get_args(Kind)

STRING_LENGTH_MAX = 1024
LIST_LENGTH_MAX = 200

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NO_GUID = "00000000-0000-0000-0000-000000000000"
_UPN = re.compile(r"[^\s@*?\[\]\"`$;,:()<>|\\/{}]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}")
_E164 = re.compile(r"\+[1-9][0-9]{3,14}(;ext=[0-9]{1,10})?")
_POLICY = re.compile(r"[^\x00-\x1f\x7f*?]{1,256}")
_SIZE = re.compile(r"(unlimited)|([0-9]{1,12}(?:\.[0-9]{1,4})?) ?(B|KB|MB|GB|TB)?", re.IGNORECASE)
_SIZE_BYTES = re.compile(r"\(([0-9,]{1,24}) bytes\)")
_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


@dataclass(frozen=True, slots=True)
class ValueType:
    """One declared type.

    `values` lists what an enum accepts. `read_as` maps what a read answers to what a write takes (mailbox types).
    """

    kind: Kind
    nullable: bool = False
    values: tuple[str, ...] = ()
    length_max: int = STRING_LENGTH_MAX
    minimum: int | None = None
    maximum: int | None = None
    read_as: Mapping[str, str] | None = None

    def describe(self) -> dict[str, Any]:
        """For people and callers: what may be given."""
        described: dict[str, Any] = {"type": self.kind, "nullable": self.nullable}
        if self.values:
            described["values"] = list(self.values)
        return described

    def check(self, value: Any, name: str) -> Any:
        """The value as it is handed to the cmdlet. Raises InvalidInput naming the parameter and what it must be."""
        if value is None:
            if self.nullable:
                return None
            raise _invalid(name, "must not be null")
        return _CHECKS[self.kind](self, value, name)

    def read(self, value: Any) -> Any:
        """What a cmdlet answered, in our form: policy objects become names, other names of a thing are mapped."""
        if self.kind == "policy":
            return _policy_name(value)
        if self.kind == "guid":
            # Microsoft answers the all-zero GUID for "none".
            return None if not value or str(value) == _NO_GUID else str(value)
        if self.kind == "strings":
            return [] if value is None else [str(v) for v in value] if isinstance(value, list) else [str(value)]
        if self.read_as is not None and isinstance(value, str):
            return self.read_as.get(value, value)
        return value

    def same(self, observed: Any, desired: Any) -> bool:
        """Whether both mean the same state. Unset and empty are one state for text, as they are for Microsoft."""
        return bool(_canonical(self, observed) == _canonical(self, desired))


def _invalid(name: str, reason: str) -> InvalidInput:
    return InvalidInput(f"{name} {reason}", code="invalid-params", detail={"parameter": name})


def _text(value: Any, name: str, length_max: int) -> str:
    if not isinstance(value, str):
        raise _invalid(name, "must be text")
    if len(value) > length_max:
        raise _invalid(name, f"must not be longer than {length_max} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(name, "must be valid Unicode text") from None
    return value


def _check_string(kind: ValueType, value: Any, name: str) -> str:
    return _text(value, name, kind.length_max)


def _check_identity(_: ValueType, value: Any, name: str) -> str:
    text = _text(value, name, 256)
    if not text.strip():
        raise _invalid(name, "must name one object; it is empty")
    if _GUID.fullmatch(text) is None and _UPN.fullmatch(text) is None:
        raise _invalid(name, "must be an object id (GUID) or a user principal name, without wildcards")
    return text


def _check_guid(_: ValueType, value: Any, name: str) -> str:
    text = _text(value, name, 36)
    if _GUID.fullmatch(text) is None:
        raise _invalid(name, "must be a GUID")
    return text


def _check_e164(_: ValueType, value: Any, name: str) -> str:
    text = _text(value, name, 40)
    if _E164.fullmatch(text) is None:
        raise _invalid(name, "must be a number in E.164 form such as +41445551234, optionally with ;ext=123")
    return text


def _check_bool(_: ValueType, value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _invalid(name, "must be true or false")
    return value


def _check_int(kind: ValueType, value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid(name, "must be a whole number")
    low = kind.minimum if kind.minimum is not None else 0
    high = kind.maximum if kind.maximum is not None else 2**31 - 1
    if not low <= value <= high:
        raise _invalid(name, f"must be between {low} and {high}")
    return value


def _check_enum(kind: ValueType, value: Any, name: str) -> str:
    if value not in kind.values:
        raise _invalid(name, f"must be one of {', '.join(kind.values)}")
    return str(value)


def _check_smtp(_: ValueType, value: Any, name: str) -> str:
    text = _text(value, name, 320)
    if _UPN.fullmatch(text) is None:
        raise _invalid(name, "must be a mail address")
    return text


def _check_strings(kind: ValueType, value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or len(value) > LIST_LENGTH_MAX:
        raise _invalid(name, f"must be a list of at most {LIST_LENGTH_MAX} texts")
    return [_text(item, f"{name}[{index}]", kind.length_max) for index, item in enumerate(value)]


def _check_size(_: ValueType, value: Any, name: str) -> str:
    text = _text(value, name, 40)
    if _SIZE.fullmatch(text) is None:
        raise _invalid(name, "must be a size such as 35MB, or unlimited")
    return text


def _check_policy(kind: ValueType, value: Any, name: str) -> str | None:
    text = _text(value, name, 256)
    if not text.strip() or _POLICY.fullmatch(text) is None:
        raise _invalid(name, "must be the name of one policy, or null for the default")
    return _policy_name(text) if kind.nullable else text.removeprefix("Tag:")


def _check_json(_: ValueType, _value: Any, name: str) -> Any:
    raise _invalid(name, "can only be read")


_CHECKS = {
    "string": _check_string,
    "identity": _check_identity,
    "guid": _check_guid,
    "e164": _check_e164,
    "bool": _check_bool,
    "int": _check_int,
    "enum": _check_enum,
    "smtp": _check_smtp,
    "strings": _check_strings,
    "size": _check_size,
    "policy": _check_policy,
    "line-uri": _check_e164,
    "json": _check_json,
}


def _policy_name(value: Any) -> str | None:
    # Get-CsOnlineUser answers an object {Authority, Name, PolicyId}; null is the default (Global) policy.
    if isinstance(value, Mapping):
        value = value.get("Name") or value.get("name")
    if not isinstance(value, str) or not value:
        return None
    name = value.removeprefix("Tag:")
    return None if name.casefold() == "global" else name


def _canonical(kind: ValueType, value: Any) -> Any:
    value = kind.read(value)
    if value is None or value == "":
        return None
    if kind.kind in {"string", "bool", "int", "json"} or not isinstance(value, str | list):
        return value
    return _CANONICAL.get(kind.kind, _fold)(value)


def _fold(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _canonical_line(value: Any) -> Any:
    return value.removeprefix("tel:").casefold()


def _canonical_strings(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _canonical_size(value: Any) -> Any:
    exact = _SIZE_BYTES.search(value)
    if exact is not None:
        return int(exact[1].replace(",", ""))
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[1]:
        return value.strip().casefold()
    return int(float(match[2]) * _UNITS[(match[3] or "B").upper()])


def _canonical_smtp(value: Any) -> Any:
    return value.casefold().removeprefix("smtp:")


_CANONICAL = {
    "line-uri": _canonical_line,
    "strings": _canonical_strings,
    "size": _canonical_size,
    "smtp": _canonical_smtp,
}
