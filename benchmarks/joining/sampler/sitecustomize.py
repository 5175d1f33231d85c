"""A sampling profiler of CPU time, for a program that knows nothing of it: put this folder on PYTHONPATH.

    UCMESH_PROFILE_FILE=F    SIGUSR2 begins, the next one writes F: JSON, one count for each distinct stack

The kernel's profiling timer ticks in CPU time of the process (SIGPROF), so waiting costs nothing and is not seen; time
in C belongs to the Python line that called it. Owns nothing but the counts. Only the main thread is seen.
"""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

TICK_SECONDS = 0.004
DEPTH_MAX = 60

_stacks: Counter[tuple[str, ...]] = Counter()
_names: dict[tuple[str, str, int], str] = {}


def _tick(_signal: int, frame: FrameType | None) -> None:
    stack: list[str] = []
    while frame is not None and len(stack) < DEPTH_MAX:
        code = frame.f_code
        key = (code.co_filename, code.co_qualname, frame.f_lineno if not stack else 0)
        name = _names.get(key)
        if name is None:
            name = _names[key] = f"{key[0]}:{key[1]}:{key[2]}"
        stack.append(name)
        frame = frame.f_back
    _stacks[tuple(stack)] += 1


def _begin_or_write(_signal: int, _frame: FrameType | None) -> None:
    if signal.getitimer(signal.ITIMER_PROF) == (0, 0):
        _stacks.clear()
        signal.setitimer(signal.ITIMER_PROF, TICK_SECONDS, TICK_SECONDS)
        return
    signal.setitimer(signal.ITIMER_PROF, 0)
    file = Path(os.environ["UCMESH_PROFILE_FILE"])
    part = file.with_suffix(".part")
    part.write_text(json.dumps([[list(stack), count] for stack, count in _stacks.items()]))
    part.replace(file)


if "UCMESH_PROFILE_FILE" in os.environ:
    signal.signal(signal.SIGPROF, _tick)
    # Not SIGUSR1: a service takes it as the request to drain.
    signal.signal(signal.SIGUSR2, _begin_or_write)
