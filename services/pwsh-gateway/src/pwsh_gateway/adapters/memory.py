"""Resident memory of session processes.

Owns asking the operating system. Refuses to know what a session is: it takes process ids, each the leader of its
own group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil


def resident_bytes(pids: Sequence[int]) -> Mapping[int, int]:
    """Process id -> resident bytes of it and of its descendants; processes that are gone are left out."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for process in psutil.process_iter(["ppid", "memory_info"]):
        memory = process.info["memory_info"]
        parents[process.pid] = process.info["ppid"] or 0
        sizes[process.pid] = memory.rss if memory is not None else 0
    totals = {pid: 0 for pid in pids if pid in sizes}
    for pid, size in sizes.items():
        leader = _leader(pid, parents, totals)
        if leader is not None:
            totals[leader] += size
    return totals


def _leader(pid: int, parents: Mapping[int, int], leaders: Mapping[int, int]) -> int | None:
    for _ in range(64):
        if pid in leaders:
            return pid
        if pid not in parents:
            return None
        pid = parents[pid]
    return None
