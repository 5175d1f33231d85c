"""deploy/compose.yaml read as data, with its variables put in as Docker would."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from support.real_parts import ROOT

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?:(:-|:\?)([^}]*))?\}")


def variables() -> dict[str, str | None]:
    """Every variable the file asks for, with its default; None where one has to be given."""
    return {name: default if mark == ":-" else None for name, mark, default in _VARIABLE.findall(FILE.read_text())}


def env_file(name: str) -> dict[str, str]:
    """The variables of an env file, those in comments left out."""
    lines = (DEPLOY / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def rendered(given: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables replaced. A required one that is not given is an error, as it is for Docker."""

    def value(match: re.Match[str]) -> str:
        name, mark, rest = match.groups()
        if given.get(name):
            return given[name]
        if mark == ":-":
            return rest or ""
        raise AssertionError(f"{name} has to be given: {rest}")

    document: dict[str, Any] = _replaced(yaml.safe_load(FILE.read_text()), value)
    return document


def _replaced(node: Any, value: Any) -> Any:
    if isinstance(node, str):
        return _VARIABLE.sub(value, node).replace("$$", "$")
    if isinstance(node, list):
        return [_replaced(item, value) for item in node]
    if isinstance(node, dict):
        return {name: _replaced(item, value) for name, item in node.items()}
    return node
