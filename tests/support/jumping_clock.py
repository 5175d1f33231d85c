"""A wall clock that a test can move while the program runs: libfaketime, loaded before the C library.

Owns the file that says how wrong the clock is. Monotonic clocks stay right, as they do when somebody sets a machine's
clock. What the program starts (session hosts) has the right time, unless it hands the variables on.
"""

import importlib.util
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

LOOK_SECONDS = 1
"""How often the program reads the file."""


def library() -> Path | None:
    """The library of the package `libfaketime`; None where it cannot be loaded."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None or sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    path = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return path if path.exists() else None


class JumpingClock:
    """The wall clock of the programs that run with its `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(LOOK_SECONDS),
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the true time; -: behind."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)
