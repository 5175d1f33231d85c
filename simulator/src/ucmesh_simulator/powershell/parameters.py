"""Parameter sets of the simulated cmdlets, read from the facts. Owns the types, aliases and positions both hosts bind
by: the stub modules are generated from this, the simulated host binds by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ucmesh_simulator import facts

COMMON = frozenset({
    "Verbose", "Debug", "ErrorAction", "WarningAction", "InformationAction", "ProgressAction", "ErrorVariable",
    "WarningVariable", "InformationVariable", "OutVariable", "OutBuffer", "PipelineVariable",
})  # fmt: skip
SHOULD_PROCESS = frozenset({"WhatIf", "Confirm"})
# Microsoft's page says Boolean, the parameter takes $null for "not configured".
_NULLABLE = {"EwsEnabled", "SmtpClientAuthenticationDisabled"}
_PLAIN = {
    "string": "string", "boolean": "boolean", "switchparameter": "switchparameter", "int": "int32", "int32": "int32",
    "integer": "int32", "uint32": "uint32", "guid": "guid", "datetime": "datetime", "uri": "uri",
    "string[]": "string[]", "securestring": "securestring", "pscredential": "pscredential",
    "x509certificate2": "x509certificate2", "loglevel": "string", "exchangeenvironment": "string", "fqdn": "string",
    "ouidparameter": "string", "useridparameter": "string", "mailboxidparameter": "object",
    "sendasyncstep[]": "object[]", "propertyset[]": "string[]", "recipienttypedetails[]": "string[]",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """How a parameter stands in one set."""

    mandatory: bool
    position: int | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """`kind` is the type's short name in lower case; types only Microsoft's assemblies know are "object"."""

    name: str
    kind: str
    aliases: tuple[str, ...]
    places: Mapping[str, Place]  # by parameter set
    by_value: bool
    by_name: bool


@dataclass(frozen=True, slots=True)
class Cmdlet:
    name: str
    default_set: str
    sets: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    should_process: bool


@cache
def load_module(module: str) -> list[Cmdlet]:
    """All cmdlets of a module, in alphabetical order."""
    found = facts.load(f"{module}.json")["cmdlets"]
    return [_cmdlet(name, found[name]) for name in sorted(found)]


@cache
def find_cmdlet(module: str, name: str) -> Cmdlet | None:
    return next((one for one in load_module(module) if one.name.lower() == name.lower()), None)


def _cmdlet(name: str, entry: Mapping[str, Any]) -> Cmdlet:
    names = {one["name"] for listed in entry["sets"].values() for one in listed}
    should_process = names >= SHOULD_PROCESS
    skipped = COMMON | (SHOULD_PROCESS if should_process else frozenset())
    parameters = {
        one: _parameter(one, entry)
        for one in sorted(names - skipped, key=lambda text: (text != "Identity", text.lower()))
    }
    return Cmdlet(name, entry["default_set"], tuple(entry["sets"]), parameters, should_process)


def _parameter(name: str, entry: Mapping[str, Any]) -> Parameter:
    places: dict[str, Place] = {}
    kind = "object"
    for set_name, listed in entry["sets"].items():
        for one in listed:
            if one["name"] == name:
                places[set_name] = Place(bool(one["required"]), one["position"])
                kind = _kind(name, str(one["type"]))
    known = entry["parameters"].get(name, {})
    pipeline = str(known.get("pipeline", "False"))
    others = {one.lower() for one in entry["parameters"]}
    return Parameter(
        name=name,
        kind=kind,
        aliases=tuple(alias for alias in known.get("aliases", ()) if alias.lower() not in others),
        places=places,
        by_value=pipeline == "True" or "byvalue" in pipeline.lower(),
        by_name="bypropertyname" in pipeline.lower(),
    )


def _kind(name: str, text: str) -> str:
    short = text.rsplit(".", 1)[-1].lower()
    if short == "boolean" and name in _NULLABLE:
        return "nullable-boolean"
    return _PLAIN.get(short, "object[]" if short.endswith("[]") else "object")
