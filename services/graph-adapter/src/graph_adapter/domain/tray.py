"""Operations this process has accepted and leased in one go, and that wait in memory for a run.

    command ─> row, leased ─> commit ─> tray ─> run         while there is room
            └> row, queued ─> commit ─> LEASE ─> run        otherwise

Owns their order (urgent lane first, then as they came, a target's operations together) and who may be let in; whether
the tray or the queue has what is next is decided by `fairness.together`. Refuses IO. Each is a row under this process's
lease: when the process dies, the lease runs out and another worker takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from uuid import UUID

from graph_adapter.domain.fairness import Backlog
from graph_adapter.domain.operation import Command, Lane, LeasedOperation

Group = tuple[LeasedOperation, ...]
"""All operations of one target that came in together."""

_LANES = tuple(Lane)
_RANKS = {lane: rank for rank, lane in enumerate(_LANES)}


class Tray:
    """One of a process. `lease_id` is never used again by another one; `target_count_max` bounds the memory."""

    def __init__(self, lease_id: UUID, target_count_max: int) -> None:
        self.lease_id = lease_id
        self.is_open = False
        self.expected_count = 0
        self.on_change: Callable[[], None] = _nothing
        self._target_count_max = target_count_max
        self._waiting: dict[str, tuple[deque[Group], ...]] = {}
        self._lease_ends: dict[UUID, datetime] = {}
        self._pauses: dict[str, datetime] = {}
        self._target_count = 0

    @property
    def room(self) -> int:
        """Targets that may come in."""
        return max(self._target_count_max - self._target_count, 0) if self.is_open else 0

    @property
    def operation_ids(self) -> list[UUID]:
        """Everything that waits here."""
        return list(self._lease_ends)

    def expect(self) -> None:
        """A transaction is open that leases operations for this tray; `arrived` is its end."""
        self.expected_count += 1

    def arrived(self, operations: Sequence[LeasedOperation], lease_end: datetime) -> None:
        """Takes in what was written under our lease until `lease_end`, in the order it came."""
        self.expected_count -= 1
        self._put(operations, lease_end)
        self.on_change()

    def _put(self, operations: Sequence[LeasedOperation], lease_end: datetime) -> None:
        groups: dict[tuple[str, str], list[LeasedOperation]] = {}
        for leased in operations:
            groups.setdefault((leased.command.tenant_id, leased.command.target), []).append(leased)
            self._lease_ends[leased.command.operation_id] = lease_end
        for (tenant_id, _), group in groups.items():
            group.sort(key=lambda leased: _RANKS[leased.command.lane])
            lanes = self._waiting.setdefault(tenant_id, tuple(deque() for _ in _LANES))
            lanes[_RANKS[group[0].command.lane]].append(tuple(group))
        self._target_count += len(groups)

    def extended(self, operation_ids: Sequence[UUID], lease_end: datetime) -> None:
        """Their leases were moved."""
        self._lease_ends.update((key, lease_end) for key in operation_ids if key in self._lease_ends)

    def pause(self, tenant_id: str, until: datetime) -> None:
        """Nothing of the tenant is handed out before."""
        self._pauses[tenant_id] = until

    def backlog(self, now: datetime) -> list[Backlog]:
        """The tenants that something waits for."""
        self._pauses = {tenant_id: until for tenant_id, until in self._pauses.items() if until > now}
        return [_backlog(name, lanes) for name, lanes in self._waiting.items() if name not in self._pauses]

    def longest_wait_seconds(self, now: datetime) -> float:
        """Of what is not paused."""
        open_lanes = chain.from_iterable(
            lanes for tenant_id, lanes in self._waiting.items() if self._pauses.get(tenant_id, now) <= now
        )
        heads = [lane[0][0].started_at for lane in open_lanes if lane]
        return max((now - min(heads)).total_seconds(), 0.0) if heads else 0.0

    def take(self, tenant_id: str, target_count: int, now: datetime) -> list[LeasedOperation]:
        """The operations of the tenant's first targets, of one lane: a run ends with its slowest, and nobody urgent is
        to wait for a bulk in it. Left out is what the lease has run out for: another worker may have it by now, and the
        recovery brings it back.
        """
        lanes = self._waiting.get(tenant_id, ())
        first: deque[Group] = next((lane for lane in lanes if lane), deque())
        taken: list[LeasedOperation] = []
        while target_count > 0 and first:
            group = first.popleft()
            self._target_count -= 1
            ends = [self._lease_ends.pop(leased.command.operation_id) for leased in group]
            if min(ends) > now:
                taken.extend(group)
                target_count -= 1
        if not any(lanes):
            self._waiting.pop(tenant_id, None)
        return taken

    def take_all(self, now: datetime) -> dict[str, list[LeasedOperation]]:
        """Everything, by tenant."""
        taken: dict[str, list[LeasedOperation]] = {}
        while self._waiting:
            tenant_id = next(iter(self._waiting))
            taken.setdefault(tenant_id, []).extend(self.take(tenant_id, self._target_count, now))
        return taken


def let_in(
    commands: Sequence[Command], room: Mapping[str, int], follow_count_max: int, target_count_max: int
) -> frozenset[UUID]:
    """Which of the commands may be leased at once, as a lease would pick them: of each tenant the first targets there
    is `room` for, urgent lane first; of a target its first operations up to one with another credential.
    """
    groups: dict[tuple[str, str], list[Command]] = {}
    for command in commands:
        if room.get(command.tenant_id, 0) > 0:
            groups.setdefault((command.tenant_id, command.target), []).append(command)
    for group in groups.values():
        group.sort(key=lambda command: _RANKS[command.lane])
    left = dict(room)
    inside: list[list[Command]] = []
    for (tenant_id, _), group in sorted(groups.items(), key=lambda item: _RANKS[item[1][0].lane]):
        if left[tenant_id] > 0 and len(inside) < target_count_max:
            left[tenant_id] -= 1
            credential = group[0].credential
            stop = next((n for n, command in enumerate(group) if command.credential != credential), len(group))
            inside.append(group[: min(stop, follow_count_max)])
    return frozenset(command.operation_id for command in chain.from_iterable(inside))


def _backlog(tenant_id: str, lanes: Sequence[deque[Group]]) -> Backlog:
    rank = next(rank for rank, lane in enumerate(lanes) if lane)
    return Backlog(tenant_id, rank == 0, (rank, lanes[rank][0][0].started_at))


def _nothing() -> None:
    pass
