"""PowerShell's parameter binding, as far as named parameters need it: names and aliases, types, parameter sets,
mandatory ones.

Owns the order in which PowerShell finds faults: unknown name, value that does not convert, null or empty for a
mandatory one, no set that fits, missing mandatory. Raises HostError with PowerShell's own ids; returns the bound values
under their real names."""

import uuid
from collections.abc import Mapping
from typing import Any

from ucmesh_simulator.powershell.parameters import COMMON, SHOULD_PROCESS, Cmdlet, Parameter
from ucmesh_simulator.pwsh_host.records import HostError, binding

_UNRESOLVED = (
    "Parameter set cannot be resolved using the specified named parameters. One or more parameters issued cannot be "
    "used together or an insufficient number of parameters were provided."
)
_BOOLEAN_HINT = "Boolean parameters accept only Boolean values and numbers, such as $True, $False, 1 or 0."


def bind(cmdlet: Cmdlet, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` as the protocol carries it; common parameters are dropped, switches become booleans."""
    bound: dict[str, Any] = {}
    confirming: dict[str, Any] = {}
    for name, value in given.items():
        parameter = _find(cmdlet, name)
        if parameter is not None:
            bound[parameter.name] = _converted(cmdlet, parameter, value)
        elif name.lower() in {one.lower() for one in SHOULD_PROCESS}:
            confirming[name] = value
    _resolve(cmdlet, bound)
    return {**bound, **confirming}


def _find(cmdlet: Cmdlet, name: str) -> Parameter | None:
    """By name, alias or unambiguous beginning; None for a common parameter."""
    lowered = name.lower()
    reserved = COMMON | SHOULD_PROCESS if cmdlet.should_process else COMMON
    common = {one.lower() for one in reserved}
    for parameter in cmdlet.parameters.values():
        if lowered in {parameter.name.lower(), *(alias.lower() for alias in parameter.aliases)}:
            return parameter
    if lowered in common:
        return None
    found = [one for one in cmdlet.parameters.values() if one.name.lower().startswith(lowered)]
    matches = len(found) + sum(one.startswith(lowered) for one in common)
    if matches == 1 and found:
        return found[0]
    if matches > 1:
        listed = " ".join(f"-{one.name}" for one in found)
        ambiguous = f"Parameter cannot be processed because the parameter name '{name}' is ambiguous."
        message = f"{ambiguous} Possible matches include: {listed}."
        raise binding(cmdlet.name, "AmbiguousParameter", message, "InvalidArgument")
    message = f"A parameter cannot be found that matches parameter name '{name}'."
    raise binding(cmdlet.name, "NamedParameterNotFound", message, "InvalidArgument")


# -- values ------------------------------------------------------------------------------------------------------------
def _converted(cmdlet: Cmdlet, parameter: Parameter, value: Any) -> Any:
    converted = _typed(cmdlet, parameter, value)
    if not any(place.mandatory for place in parameter.places.values()):
        return converted
    if converted is None:
        message = f"Cannot bind argument to parameter '{parameter.name}' because it is null."
        raise binding(cmdlet.name, "ParameterArgumentValidationErrorNullNotAllowed", message, "InvalidData")
    if converted == "":
        message = f"Cannot bind argument to parameter '{parameter.name}' because it is an empty string."
        raise binding(cmdlet.name, "ParameterArgumentValidationErrorEmptyStringNotAllowed", message, "InvalidData")
    return converted


def _typed(cmdlet: Cmdlet, parameter: Parameter, value: Any) -> Any:
    match parameter.kind:
        case "string":
            return _string(cmdlet, parameter, value)
        case "boolean" | "switchparameter" | "nullable-boolean":
            return _boolean(cmdlet, parameter, value)
        case "int32" | "uint32":
            return _integer(cmdlet, parameter, value)
        case "guid":
            return _guid(cmdlet, parameter, value)
        case "string[]":
            if value is None:
                return None
            return [_text(one) for one in value] if isinstance(value, list) else [_text(value)]
        case _:
            return value


def _string(cmdlet: Cmdlet, parameter: Parameter, value: Any) -> str:
    if isinstance(value, list):
        raise _untransformed(cmdlet, parameter, "Cannot convert value to type System.String.")
    return _text(value)


def _text(value: Any) -> str:
    """PowerShell's own conversion to a string."""
    if isinstance(value, dict):
        return "System.Collections.Hashtable"
    return "" if value is None else str(value)


def _boolean(cmdlet: Cmdlet, parameter: Parameter, value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if value is None and parameter.kind != "boolean":
        return None if parameter.kind == "nullable-boolean" else False
    if isinstance(value, int | float) and parameter.kind != "switchparameter":
        return bool(value)
    shown = "System.String" if isinstance(value, str) else "" if value is None else _net_name(value)
    if parameter.kind == "switchparameter":
        message = (
            f'Cannot convert value "{shown}" to type "System.Management.Automation.SwitchParameter". {_BOOLEAN_HINT}'
        )
    else:
        message = f'Cannot convert value "{shown}" to type "System.Boolean". {_BOOLEAN_HINT}'
    raise _untransformed(cmdlet, parameter, message)


def _integer(cmdlet: Cmdlet, parameter: Parameter, value: Any) -> int:
    if value is None or value == "":
        return 0
    try:
        return int(value)
    except (TypeError, ValueError) as wrong:
        kind = "System.Int32" if parameter.kind == "int32" else "System.UInt32"
        message = (
            f'Cannot convert value "{value}" to type "{kind}". Error: '
            f"\"The input string '{value}' was not in a correct format.\""
        )
        raise _untransformed(cmdlet, parameter, message) from wrong


def _guid(cmdlet: Cmdlet, parameter: Parameter, value: Any) -> str:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError as wrong:
        message = f'Cannot convert value "{value}" to type "System.Guid". Error: "Unrecognized Guid format."'
        raise _untransformed(cmdlet, parameter, message) from wrong


def _net_name(value: object) -> str:
    if isinstance(value, list):
        return "System.Object[]"
    return "System.Collections.Hashtable" if isinstance(value, dict) else type(value).__name__


def _untransformed(cmdlet: Cmdlet, parameter: Parameter, why: str) -> HostError:
    message = f"Cannot process argument transformation on parameter '{parameter.name}'. {why}"
    return binding(cmdlet.name, "ParameterArgumentTransformationError", message, "InvalidData")


# -- sets --------------------------------------------------------------------------------------------------------------
def _resolve(cmdlet: Cmdlet, bound: Mapping[str, Any]) -> None:
    """One set must hold every given parameter and find its mandatory ones; the default set breaks ties."""
    fitting = [name for name in cmdlet.sets if all(name in cmdlet.parameters[one].places for one in bound)]
    if not fitting:
        raise _unresolved(cmdlet)
    missing = {name: _missing(cmdlet, name, bound) for name in fitting}
    complete = [name for name in fitting if not missing[name]]
    if len(complete) == 1 or (complete and cmdlet.default_set in complete):
        return
    if complete:
        raise _unresolved(cmdlet)
    if len(fitting) == 1 or cmdlet.default_set in fitting:
        chosen = fitting[0] if len(fitting) == 1 else cmdlet.default_set
        message = (
            f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing[chosen])}."
        )
        raise binding(cmdlet.name, "MissingMandatoryParameter", message, "InvalidArgument")
    raise _unresolved(cmdlet)


def _missing(cmdlet: Cmdlet, set_name: str, bound: Mapping[str, Any]) -> list[str]:
    return [
        one.name
        for one in cmdlet.parameters.values()
        if set_name in one.places and one.places[set_name].mandatory and one.name not in bound
    ]


def _unresolved(cmdlet: Cmdlet) -> HostError:
    return binding(cmdlet.name, "AmbiguousParameterSet", _UNRESOLVED, "InvalidArgument")
