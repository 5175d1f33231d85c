"""Many requests into few calls: `$batch` takes up to 20.

Owns the packing. Refuses dependencies: requests of one round do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

BATCH_SIZE_MAX = 20

Item = TypeVar("Item")


def packs(items: Sequence[Item], size_max: int = BATCH_SIZE_MAX) -> list[Sequence[Item]]:
    """Cuts into packs of at most `size_max` and nearly equal size, so that no call carries a single leftover
    request.
    """
    if not items:
        return []
    count = -(-len(items) // size_max)
    size, larger = divmod(len(items), count)
    cut: list[Sequence[Item]] = []
    start = 0
    for index in range(count):
        end = start + size + (index < larger)
        cut.append(items[start:end])
        start = end
    return cut
