"""Where a joiner's CPU time goes inside the services: samples taken while the load runs, told by place.

Owns starting and collecting the samplers (sampler/sitecustomize.py) and the two views of their stacks: by the library
that was busy, and by the innermost function of ours that asked for it. The simulator is sampled too.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ucmesh_embedded.stack import Stack

PROGRAMS = ("orchestrator", "graph-adapter", "pwsh-gateway", "cert-manager", "simulator")
SAMPLER = Path(__file__).parent / "sampler"
WRITE_SECONDS_MAX = 10.0
_LIBRARY = re.compile(r"(?:site-packages|python\d\.\d+)/(?:site-packages/)?([^/:]+)")
_OURS = re.compile(r"/(?:services|libs|simulator|embedded)/(?:[^/]+/)?src/")

Stacks = list[tuple[list[str], int]]


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of one program's samples, most first. Places are `file:function`, relative to the package folder."""

    program: str
    samples: int
    libraries: tuple[tuple[str, float], ...]
    places: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Samplers:
    """The samplers of one stack, with their files in `folder`."""

    folder: Path

    def environment(self) -> dict[str, Mapping[str, str]]:
        """More variables for each program (Options.environment)."""
        return {name: {"PYTHONPATH": str(SAMPLER), "UCMESH_PROFILE_FILE": str(self._file(name))} for name in PROGRAMS}

    def begin(self, stack: Stack) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            os.kill(stack.pid(name), signal.SIGUSR2)

    async def collect(self, stack: Stack) -> list[Profile]:
        """Stop sampling and read what was found."""
        for name in PROGRAMS:
            self._file(name).unlink(missing_ok=True)
            os.kill(stack.pid(name), signal.SIGUSR2)
        deadline = time.monotonic() + WRITE_SECONDS_MAX
        while not all(self._file(name).exists() for name in PROGRAMS):
            if time.monotonic() > deadline:
                raise RuntimeError("a sampler did not write its file")
            await asyncio.sleep(0.05)
        return [profile_of(name, json.loads(self._file(name).read_text())) for name in PROGRAMS]

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def profile_of(program: str, stacks: Stacks) -> Profile:
    """Count every sample once in each view."""
    libraries: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for stack, count in stacks:
        libraries[_library(stack[0])] += count
        place = next((_place(frame) for frame in stack if _OURS.search(frame)), "event loop and libraries alone")
        places[place] += count
    total = sum(libraries.values())
    return Profile(program, total, _shares(libraries, total), _shares(places, total))


def _library(frame: str) -> str:
    """The distribution's top package, or ours."""
    if _OURS.search(frame):
        return "ours: " + _OURS.split(frame)[-1].split("/")[0]
    found = _LIBRARY.search(frame)
    return found.group(1).removesuffix(".py") if found else "python"


def _place(frame: str) -> str:
    file, function, _ = _OURS.split(frame)[-1].rsplit(":", 2)
    return f"{file}:{function}"


def _shares(counts: Counter[str], total: int) -> tuple[tuple[str, float], ...]:
    return tuple((name, count / total) for name, count in counts.most_common())
