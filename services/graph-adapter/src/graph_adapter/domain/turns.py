"""Whose turn it is in a run: the operations of one target go one after the other, those of different targets together.

Owns that order. Refuses to know how an operation ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from graph_adapter.domain.operation import LeasedOperation


class Turns:
    """The operations of one run in the order they were leased; of each target the first one has its turn."""

    def __init__(self, operations: Sequence[LeasedOperation]) -> None:
        self._waiting: dict[str, deque[LeasedOperation]] = {}
        self._free: dict[str, None] = {}
        for leased in operations:
            self._waiting.setdefault(leased.command.target, deque()).append(leased)
            self._free[leased.command.target] = None

    @property
    def are_over(self) -> bool:
        """Whether nobody is left whose turn would come."""
        return not any(self._waiting.values())

    def ended(self, leased: LeasedOperation) -> None:
        """The operation is answered: the next one of its target may have its turn."""
        self._free[leased.command.target] = None

    def next(self) -> list[LeasedOperation]:
        """One operation of each target that nothing is under way for; they have their turn from now on."""
        free, self._free = self._free, {}
        return [self._waiting[target].popleft() for target in free if self._waiting.get(target)]

    def give_up(self, target: str) -> list[LeasedOperation]:
        """Those of the target whose turn does not come in this run."""
        self._free.pop(target, None)
        return list(self._waiting.pop(target, ()))

    def give_up_all(self) -> list[LeasedOperation]:
        """Everybody whose turn does not come in this run."""
        return [leased for target in list(self._waiting) for leased in self.give_up(target)]
