"""Killing processes by their pid, and proving that they are gone."""

import contextlib
import os
import signal

import psutil

from support.waiting import eventually_sync


def kill_nine(pid: int) -> None:
    """SIGKILL to one process; no error when it is gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether it still runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def await_gone(pids: list[int], *, seconds: float = 10) -> None:
    eventually_sync(lambda: not [p for p in pids if alive(p)], seconds=seconds, what=f"end of the processes {pids}")
