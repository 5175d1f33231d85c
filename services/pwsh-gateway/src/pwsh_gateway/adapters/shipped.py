"""The data that ships with the package: catalogue, error rules and the session host's script.

Owns finding and parsing the files. Refuses to start with broken ones.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import yaml

from pwsh_gateway.domain.catalogue import Catalogue
from pwsh_gateway.domain.catalogue_parsing import parse_catalogue
from pwsh_gateway.domain.error_rules import RuleSet, parse_rules

_PACKAGE = "pwsh_gateway"


def catalogue() -> Catalogue:
    """Raises CatalogueError."""
    names = ("teams.yaml", "exchange.yaml")
    return parse_catalogue([yaml.safe_load(_text("catalogue", name)) for name in names])


def error_rules() -> tuple[RuleSet, str]:
    """The shipped rules and the digest that tells releases apart. Raises InvalidInput."""
    text = _text("catalogue", "error_rules.yaml")
    return parse_rules(yaml.safe_load(text)), hashlib.sha256(text.encode()).hexdigest()


def session_host() -> Path:
    """The script a session's PowerShell runs."""
    return Path(str(resources.files(_PACKAGE) / "scripts" / "session_host.ps1"))


def _text(folder: str, name: str) -> str:
    return (resources.files(_PACKAGE) / folder / name).read_text(encoding="utf-8")
