"""How every program of this folder begins: the same arguments, a folder of its own that is gone afterwards.

`--quick` is for tests: sizes with which a program is over in seconds and its figures say nothing.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
from joining.meters import machine_busy_seconds, tree_cpu

from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import Places

T = TypeVar("T")

Sizes = Mapping[str, tuple[int, int]]
"""By name: the default, and what `--quick` makes of it."""


def arguments(about: str | None, argv: Sequence[str], sizes: Sizes, texts: Mapping[str, str]) -> argparse.Namespace:
    """The arguments of a program that has no others."""
    return sized(parser(about, sizes, texts).parse_args(argv), sizes)


def parser(about: str | None, sizes: Sizes, texts: Mapping[str, str]) -> argparse.ArgumentParser:
    """`texts` explains the sizes."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (default, quick) in sizes.items():
        made.add_argument(f"--{name}", type=int, help=f"{texts[name]} ({default:,}; {quick:,} with --quick)")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--quick", action="store_true", help="small, for tests: the figures say nothing")
    made.add_argument("--json", type=Path, help="also write the figures here")
    return made


def sized(given: argparse.Namespace, sizes: Sizes) -> argparse.Namespace:
    """Sizes that were not given get what they are by default."""
    for name, (default, quick) in sizes.items():
        field = name.replace("-", "_")
        if getattr(given, field) is None:
            setattr(given, field, quick if given.quick else default)
    return given


@contextmanager
def folder() -> Iterator[Path]:
    """Gone afterwards; PostgreSQL, which may run as another user, can enter it."""
    os.environ.setdefault("UCMESH_CACHE", str(Places.from_environment().cache))
    with tempfile.TemporaryDirectory(prefix="ucmesh-bench-") as name:
        home = Path(name)
        home.chmod(0o755)
        yield home


def run(work: Coroutine[Any, Any, T], runner: Callable[..., T] = asyncio.run) -> T:
    """The work's result; a stack that could not run ends the program with its remedy. `runner`: uvloop.run where what
    is measured runs in this process, as services do.
    """
    try:
        return runner(work)
    except StackError as error:
        sys.exit(f"{error.message}\n{error.remedy or ''}")


class OtherLoad:
    """The share of the machine taken by programs that are not ours, from its making on."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), machine_busy_seconds(), tree_cpu(psutil.Process())

    def share(self) -> float:
        seconds = time.monotonic() - self._began
        others = machine_busy_seconds() - self._busy - (tree_cpu(psutil.Process()) - self._own)
        return max(others, 0.0) / (seconds * (os.cpu_count() or 1))
