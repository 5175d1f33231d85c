"""deploy/Dockerfile read as data: its stages, and their instructions with continued lines joined."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.real_parts import ROOT

FILE = ROOT / "deploy" / "Dockerfile"


@dataclass(slots=True)
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """The arguments of every instruction of that name."""
        return [rest for name, rest in self.instructions if name == word]

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for rest in self.all("ENV") for pair in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self, word: str) -> list[str]:
        """ENTRYPOINT or CMD, in its list form."""
        [rest] = self.all(word)
        return [str(part) for part in json.loads(rest)]

    @property
    def health_command(self) -> list[str]:
        """What HEALTHCHECK runs; nothing when it is NONE."""
        [rest] = self.all("HEALTHCHECK")
        return [] if rest == "NONE" else [str(part) for part in json.loads(rest[rest.index("[") :])]


def stages() -> Mapping[str, Stage]:
    """Every stage by its name."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", FILE.read_text()))
    found: dict[str, Stage] = {}
    current: Any = None
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = Stage(name, base)
        elif current is not None:
            current.instructions.append((word, rest.strip()))
    return found
