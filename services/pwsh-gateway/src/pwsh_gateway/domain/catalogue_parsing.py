"""Reads catalogue documents (parsed YAML) into entries.

Owns every check that an entry can be carried out: known types, references that resolve, reversals that exist. Raises
CatalogueError naming the operation; refuses to guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pwsh_gateway.domain.catalogue import Catalogue, Entry, Parameter, Read, Refusal, Setting, Settings, Write
from pwsh_gateway.domain.operations import MODULES, Module
from pwsh_gateway.domain.values import KINDS, Kind, ValueType

_CMDLET = re.compile(r"[A-Z][a-z]+-[A-Z][A-Za-z]+")
_REFERENCE = re.compile(r"\$(param\.([a-z_]+)|read2?(\.[A-Za-z0-9]+)?|former(\.value)?|settings)")
# They change what a cmdlet does or where it goes instead of what it is told.
FORBIDDEN_PARAMETERS = frozenset(
    {
        "Break", "Confirm", "Debug", "ErrorAction", "ErrorVariable", "Force", "Global", "Group", "HttpPipelineAppend",
        "HttpPipelinePrepend", "InformationVariable", "OutBuffer", "OutVariable", "PipelineVariable", "Proxy",
        "ProxyCredential", "ProxyUseDefaultCredentials", "Verbose", "WarningVariable", "WhatIf",
    }
)  # fmt: skip


class CatalogueError(ValueError):
    """An entry that could not be carried out."""


def parse_catalogue(documents: Sequence[Mapping[str, Any]]) -> Catalogue:
    """Raises CatalogueError with the operation and what is wrong."""
    entries: dict[tuple[str, int], Entry] = {}
    for document in documents:
        for entry in _document(document):
            key = (entry.operation, entry.version)
            if key in entries:
                raise CatalogueError(f"{entry.operation}@{entry.version}: listed twice")
            entries[key] = entry
    for entry in entries.values():
        _check_undo(entry, entries)
    return Catalogue(entries)


def _document(document: Mapping[str, Any]) -> list[Entry]:
    module = document.get("module")
    if module not in MODULES:
        raise CatalogueError(f"module must be one of {', '.join(MODULES)}, not {module!r}")
    settings = {name: _settings(name, raw) for name, raw in (document.get("settings") or {}).items()}
    reads = {name: _read(name, raw, settings) for name, raw in document["reads"].items()}
    return [_entry(cast(Module, module), raw, reads, settings) for raw in document["operations"]]


def _settings(where: str, raw: Mapping[str, Any]) -> Settings:
    parsed = {}
    for name, spec in raw.items():
        rest = dict(spec)
        read_property = rest.pop("property", name)
        parsed[name] = Setting(_type(f"settings {where}.{name}", rest), read_property)
    return parsed


def _type(where: str, raw: Mapping[str, Any]) -> ValueType:
    rest = dict(raw)
    kind = rest.pop("type", None)
    if kind not in KINDS:
        raise CatalogueError(f"{where}: type {kind!r} is not one of {', '.join(KINDS)}")
    if kind == "enum" and not rest.get("values"):
        raise CatalogueError(f"{where}: an enum needs values")
    rest["values"] = tuple(rest.get("values") or ())
    try:
        return ValueType(kind=cast(Kind, kind), **rest)
    except TypeError as error:
        raise CatalogueError(f"{where}: {error}") from None


def _read(name: str, raw: Mapping[str, Any], settings: Mapping[str, Settings]) -> Read:
    where = f"read {name}"
    _known(where, raw, {"cmdlet", "arguments", "fields", "settings", "optional"})
    if not str(raw["cmdlet"]).startswith("Get-"):
        raise CatalogueError(f"{where}: {raw['cmdlet']} is not a reading cmdlet")
    arguments = _arguments(where, raw.get("arguments") or {})
    own = settings[raw["settings"]] if "settings" in raw else {}
    fields = {field: _type(f"{where}.{field}", spec) for field, spec in raw["fields"].items()}
    return Read(name, _cmdlet(where, raw["cmdlet"]), arguments, fields, own, bool(raw.get("optional", False)))


def _entry(
    module: Module, raw: Mapping[str, Any], reads: Mapping[str, Read], settings: Mapping[str, Settings]
) -> Entry:
    where = f"{raw.get('operation')}@{raw.get('version')}"
    known = {
        "operation",
        "version",
        "title",
        "params",
        "reads",
        "output",
        "desired",
        "only_if",
        "refuse",
        "write",
        "undo",
    }
    _known(where, raw, known)
    write = _write(where, raw["write"]) if "write" in raw else None
    try:
        own_reads = tuple(reads[name] for name in raw["reads"])
    except KeyError as error:
        raise CatalogueError(f"{where}: there is no read {error}") from None
    params = {name: _parameter(where, name, spec, settings, write) for name, spec in (raw.get("params") or {}).items()}
    entry = Entry(
        operation=str(raw["operation"]),
        version=int(raw["version"]),
        module=module,
        title=str(raw["title"]),
        params=params,
        reads=own_reads,
        output=raw["output"],
        desired=raw.get("desired"),
        only_if=raw.get("only_if") or {},
        refuse=tuple(_refusal(where, spec) for spec in raw.get("refuse") or ()),
        write=write,
        undo=raw.get("undo"),
    )
    _check_entry(where, entry)
    return entry


def _parameter(
    where: str, name: str, raw: Mapping[str, Any], settings: Mapping[str, Settings], write: Write | None
) -> Parameter:
    rest = dict(raw)
    optional = bool(rest.pop("optional", False))
    if "settings" in rest:
        return Parameter(settings=settings[rest["settings"]], optional=optional)
    if rest.get("values") == "$write":
        rest["values"] = list(write.cmdlets) if write is not None else []
    return Parameter(kind=_type(f"{where}: {name}", rest), optional=optional)


def _refusal(where: str, raw: Mapping[str, Any]) -> Refusal:
    _known(where, raw, {"field", "is", "code", "message", "remedy"})
    if raw.get("is") != "other":
        raise CatalogueError(f"{where}: a refusal knows only 'is: other'")
    return Refusal(raw["field"], raw["code"], raw["message"], raw.get("remedy"))


def _write(where: str, raw: Mapping[str, Any]) -> Write:
    _known(where, raw, {"cmdlet", "by", "cmdlets", "arguments"})
    arguments = _arguments(where, raw["arguments"])
    if "Identity" not in arguments:
        raise CatalogueError(f"{where}: a write without Identity could hit the whole tenant")
    if "cmdlet" in raw:
        return Write(arguments, cmdlet=_cmdlet(where, raw["cmdlet"]))
    cmdlets = {key: _cmdlet(where, name) for key, name in raw["cmdlets"].items()}
    return Write(arguments, by=raw["by"], cmdlets=cmdlets)


def _cmdlet(where: str, name: Any) -> str:
    if not isinstance(name, str) or _CMDLET.fullmatch(name) is None:
        raise CatalogueError(f"{where}: {name!r} is not a cmdlet name")
    return name


def _arguments(where: str, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    forbidden = sorted(set(raw) & FORBIDDEN_PARAMETERS)
    if forbidden:
        raise CatalogueError(f"{where}: {', '.join(forbidden)} must not be passed to a cmdlet")
    return raw


def _check_entry(where: str, entry: Entry) -> None:
    if not entry.reads:
        raise CatalogueError(f"{where}: every operation reads first")
    if (entry.write is None) != (entry.desired is None):
        raise CatalogueError(f"{where}: a write needs desired fields, and desired fields a write")
    if entry.write is not None and entry.undo is None:
        raise CatalogueError(f"{where}: a write needs an undo")
    for reference in _references([*(r.arguments for r in entry.reads), *_parts(entry)]):
        match = _REFERENCE.fullmatch(reference)
        if match is None or (match[2] and match[2] not in entry.params):
            raise CatalogueError(f"{where}: {reference} does not resolve")
    if isinstance(entry.desired, Mapping):
        names = {name for name in (*entry.desired, *entry.only_if) if not name.startswith("$")}
        for name in (*names, *(r.field for r in entry.refuse)):
            if name not in entry.reads[0].fields:
                raise CatalogueError(f"{where}: {name} is not a field of the read {entry.reads[0].name}")


def _parts(entry: Entry) -> list[Any]:
    write = entry.write.arguments if entry.write is not None else {}
    return [entry.desired, entry.only_if, write, entry.undo, entry.output]


def _references(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value.startswith("$") else []
    if isinstance(value, Mapping):
        return [r for pair in value.items() for part in pair for r in _references(part)]
    if isinstance(value, Sequence):
        return [r for part in value for r in _references(part)]
    return []


def _check_undo(entry: Entry, entries: Mapping[tuple[str, int], Entry]) -> None:
    if entry.undo is None:
        return
    where = f"{entry.operation}@{entry.version}"
    reverse = entries.get((entry.undo["operation"], entry.undo["version"]))
    if reverse is None or reverse.module != entry.module:
        raise CatalogueError(f"{where}: its undo is not an operation of the same module")
    given, known = set(entry.undo["params"]), reverse.params
    required = {name for name, parameter in known.items() if not parameter.optional}
    if not required <= given <= set(known):
        raise CatalogueError(f"{where}: the parameters of its undo do not fit {reverse.operation}")


def _known(where: str, raw: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(raw) - known)
    if unknown:
        raise CatalogueError(f"{where}: {', '.join(unknown)} is not part of an entry")
