"""The operation catalogue: what an operation reads, wants and writes, as data.

Owns the shape of an entry and the checking of a command's parameters against it. Refuses an operation, parameter or
setting that is not listed, and an entry that could not be carried out: the service does not start with a broken
catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.domain.operations import Module
from pwsh_gateway.domain.values import ValueType

SETTINGS_COUNT_MAX = 60


@dataclass(frozen=True, slots=True)
class Setting:
    """One allow-listed parameter of a Set- cmdlet and the property a read answers for it."""

    kind: ValueType
    property: str


Settings = Mapping[str, Setting]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation: a typed value, or a map of allow-listed settings."""

    kind: ValueType | None = None
    settings: Settings | None = None
    optional: bool = False

    def describe(self) -> dict[str, Any]:
        """For people and callers: what may be given."""
        if self.settings is not None:
            return {
                "optional": self.optional,
                "settings": {name: s.kind.describe() for name, s in self.settings.items()},
            }
        return {"optional": self.optional, **(self.kind.describe() if self.kind is not None else {})}


@dataclass(frozen=True, slots=True)
class Read:
    """One reading cmdlet. `fields` are its properties; `optional` means an object that is not there is no error."""

    name: str
    cmdlet: str
    arguments: Mapping[str, Any]
    fields: Mapping[str, ValueType]
    settings: Settings
    optional: bool = False

    def properties(self) -> tuple[str, ...]:
        """Every property to select, once each."""
        return tuple(dict.fromkeys([*self.fields, *(s.property for s in self.settings.values())]))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A business no, decided on what was read. `other`: the field holds a value that is not the desired one."""

    field: str
    code: str
    message: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class Write:
    """One changing cmdlet, fixed or chosen by the value of the parameter `by` from a list."""

    arguments: Mapping[str, Any]
    cmdlet: str | None = None
    by: str | None = None
    cmdlets: Mapping[str, str] = field(default_factory=dict)

    def choose(self, params: Mapping[str, Any]) -> str:
        """The cmdlet to call with these (checked) parameters."""
        return self.cmdlet if self.cmdlet is not None else self.cmdlets[str(params[self.by or ""])]

    def names(self) -> tuple[str, ...]:
        """Every cmdlet it may call."""
        return (self.cmdlet,) if self.cmdlet is not None else tuple(self.cmdlets.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation@version.

    `desired` maps fields of the first read to what they shall be (or is `$param.<settings>`); without it the
    operation only reads. `only_if` makes the write conditional: when the fields differ there is nothing to do.
    """

    operation: str
    version: int
    module: Module
    title: str
    params: Mapping[str, Parameter]
    reads: tuple[Read, ...]
    output: Mapping[str, Any]
    desired: Mapping[str, Any] | str | None = None
    only_if: Mapping[str, Any] = field(default_factory=dict)
    refuse: tuple[Refusal, ...] = ()
    write: Write | None = None
    undo: Mapping[str, Any] | None = None

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, typed. Raises InvalidInput with code invalid-params."""
        unknown = sorted(set(params) - set(self.params))
        if unknown:
            raise InvalidInput(
                f"{self.operation} has no parameter {', '.join(unknown)}",
                code="invalid-params",
                detail={"parameter": unknown[0], "known": sorted(self.params)},
            )
        checked: dict[str, Any] = {}
        for name, parameter in self.params.items():
            if name not in params or (parameter.optional and params[name] is None):
                if not parameter.optional:
                    raise InvalidInput(f"{name} is missing", code="invalid-params", detail={"parameter": name})
                continue
            if parameter.settings is not None:
                checked[name] = _check_settings(parameter.settings, params[name], name)
            elif parameter.kind is not None:
                checked[name] = parameter.kind.check(params[name], name)
        return checked

    def kind_of(self, field_name: str) -> ValueType:
        """The type of a field of the first read or of a setting."""
        read = self.reads[0]
        setting = read.settings.get(field_name)
        return setting.kind if setting is not None else read.fields[field_name]


def _check_settings(settings: Settings, value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidInput(f"{name} must hold at least one setting", code="invalid-params", detail={"parameter": name})
    if len(value) > SETTINGS_COUNT_MAX:
        raise InvalidInput(f"{name} holds more than {SETTINGS_COUNT_MAX} settings", code="invalid-params")
    checked: dict[str, Any] = {}
    for key, wanted in value.items():
        setting = settings.get(key)
        if setting is None:
            raise InvalidInput(
                f"{name}.{key} is not a setting that may be changed",
                code="invalid-params",
                detail={"parameter": f"{name}.{key}"},
                remedy="Use one of the listed settings; the catalogue names them.",
            )
        checked[key] = setting.kind.check(wanted, f"{name}.{key}")
    return checked


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every operation the gateway knows."""

    entries: Mapping[tuple[str, int], Entry]

    def find(self, operation: str, version: int) -> Entry:
        """Raises InvalidInput with code unknown-operation."""
        entry = self.entries.get((operation, version))
        if entry is None:
            raise InvalidInput(
                f"there is no operation {operation}@{version}",
                code="unknown-operation",
                detail={"operation": operation, "version": version},
                remedy="Use an operation of the catalogue.",
            )
        return entry

    def allowed(self, module: Module) -> dict[str, list[str]]:
        """Every cmdlet and parameter name a session of the module may ever be asked for; the host holds us to it."""
        allowed: dict[str, set[str]] = {}
        for entry in self.entries.values():
            if entry.module != module:
                continue
            for read in entry.reads:
                allowed.setdefault(read.cmdlet, set()).update(read.arguments)
            if entry.write is not None:
                names = {*entry.write.arguments, *_settings_names(entry)}
                for cmdlet in entry.write.names():
                    allowed.setdefault(cmdlet, set()).update(names)
        return {cmdlet: sorted(names) for cmdlet, names in sorted(allowed.items())}


def _settings_names(entry: Entry) -> set[str]:
    return {name for p in entry.params.values() if p.settings is not None for name in p.settings}
