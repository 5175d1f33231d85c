"""What counts as a breaking change of a message contract; owns the format of released.lock.

A schema is flattened to one line a property: path, type, required or optional, and the constraints readers rely on.
Within a version only optional properties may be added (docs/decisions/0005-event-names-and-compatibility.md).
"""

from collections.abc import Iterator, Mapping
from typing import Any

Lines = Mapping[str, str]
"""Property path -> what is promised about it, e.g. ``data.operation_id`` -> ``string(uuid) required``."""

LIMITS = (
    "format", "pattern", "const", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
FOLLOWED = {"type", "enum", "anyOf", "properties", "required", "items", "additionalProperties"}
WITHOUT_PROMISE = {"$schema", "$id", "title", "description", "default", "examples", "deprecated"}


def flatten(schema: Mapping[str, Any]) -> dict[str, str]:
    """The promises of one schema; paths are dotted, ``[]`` are the items of an array, ``{}`` other properties.

    ValueError for a keyword that is not understood here: a change of it would not be seen.
    """
    return dict(_lines(schema, "data", required=True))


def _lines(schema: Mapping[str, Any], path: str, *, required: bool) -> Iterator[tuple[str, str]]:
    if unknown := sorted(set(schema) - FOLLOWED - WITHOUT_PROMISE - set(LIMITS)):
        raise ValueError(f"{path}: compatibility.py does not understand {', '.join(unknown)}")
    presence = "required" if required else "optional"
    yield path, f"{_type(schema)} {presence}"
    for variant in (schema, *schema.get("anyOf", ())):
        needed = set(variant.get("required", ()))
        for name, below in sorted(variant.get("properties", {}).items()):
            yield from _lines(below, f"{path}.{name}", required=name in needed)
        if "items" in variant:
            yield from _lines(variant["items"], f"{path}[]", required=True)
        if isinstance(variant.get("additionalProperties"), Mapping):
            yield from _lines(variant["additionalProperties"], f"{path}{{}}", required=True)


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return "|".join(_type(variant) for variant in schema["anyOf"])
    if "enum" in schema:
        return f"enum({','.join(map(str, schema['enum']))})"
    kind = str(schema.get("type", "any"))
    limits = [f"{key}={schema[key]}" for key in LIMITS if key in schema]
    if schema.get("additionalProperties") is False:
        limits.append("closed")
    return f"{kind}({' '.join(limits)})" if limits else kind


def breaking_changes(released: Mapping[str, Lines], today: Mapping[str, Lines]) -> list[str]:
    """Every promise of ``released`` that ``today`` no longer keeps, as sentences; optional additions are fine."""
    problems: list[str] = []
    for message, promises in released.items():
        if message not in today:
            problems.append(
                f"{message}: released, but gone. Publish it until every consumer has moved to a new version."
            )
            continue
        now = today[message]
        for path, promise in promises.items():
            if path not in now:
                problems.append(f"{message}: {path} was removed. Keep it, or make a new version of the message.")
            elif now[path] != promise:
                problems.append(
                    f"{message}: {path} was '{promise}' and is '{now[path]}'. Keep it, or make a new version."
                )
        problems += [
            f"{message}: {path} is new and required. New properties must be optional within a version."
            for path in now.keys() - promises.keys()
            if now[path].endswith(" required") and _parent_existed(path, promises)
        ]
    return problems


def _parent_existed(path: str, promises: Lines) -> bool:
    parent = path[:-2] if path.endswith(("[]", "{}")) else path.rpartition(".")[0]
    return parent in promises


def unreleased(released: Mapping[str, Lines], today: Mapping[str, Lines]) -> list[str]:
    """Allowed additions that the lock does not hold yet."""
    return [
        f"{message}: {path}"
        for message, promises in today.items()
        for path in promises.keys() - released.get(message, {}).keys()
    ]


def dump(messages: Mapping[str, Lines]) -> str:
    """The text of released.lock."""
    blocks = ["# What is promised to consumers. Written by generate.py --release; a test holds every line of it."]
    for message, promises in sorted(messages.items()):
        blocks.append("\n".join([message, *(f"  {path}: {promise}" for path, promise in sorted(promises.items()))]))
    return "\n\n".join(blocks) + "\n"


def parse(text: str) -> dict[str, dict[str, str]]:
    """Reads what :func:`dump` wrote; ValueError on any other line."""
    messages: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith("  "):
            current = messages.setdefault(line.strip(), {})
            continue
        path, separator, promise = line.strip().partition(": ")
        if current is None or not separator:
            raise ValueError(f"released.lock: cannot read the line {line!r}")
        current[path] = promise
    return messages
