"""Which tenants are served next, and with how many operations.

Owns fairness: every waiting tenant gets a share before any gets a second one, urgent work first, and nobody more than
its cap. Refuses to look at what the operations are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """One tenant that has work due. `urgent`: its first operation is in the urgent lane; `head`: that one's lane, lower
    is sooner, and since when it is here.
    """

    tenant_id: str
    urgent: bool
    head: tuple[int, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Take up to `take` targets of the tenant: the operations of one run one after the other. `is_held`: they are
    leased already and wait in this process's tray.
    """

    tenant_id: str
    take: int
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """`run_size_max` targets go into one run; `tenant_in_flight_max` bounds one tenant's over all replicas; `runs_max`
    bounds this process, `runs_per_tenant_max` one tenant inside it; urgent work may have one more.
    """

    run_size_max: int = 200
    tenant_in_flight_max: int = 2_000
    runs_max: int = 24
    runs_per_tenant_max: int = 3

    @property
    def tenant_handed_over_max(self) -> int:
        """Beyond this many targets in flight commands are queued: the rest is kept for what waits in the queue, which
        would starve otherwise.
        """
        return self.tenant_in_flight_max * 7 // 10


def candidates(
    waiting: Sequence[Backlog], running: Mapping[str, int], limits: Limits, last_served: str | None = None
) -> list[str]:
    """The tenants to serve, in order, twice as many as there are free runs: some may be taken by other workers or full.

    `running` counts this process's runs by tenant; `last_served` is where the previous round ended. Urgent before
    others; tenants that have no run yet before those that have; among equals the circle of tenant ids goes on after
    `last_served`.
    """
    free = limits.runs_max - sum(running.values())
    after = last_served or ""
    order = sorted(
        (item for item in waiting if running.get(item.tenant_id, 0) < limits.runs_per_tenant_max + item.urgent),
        key=lambda item: (not item.urgent, running.get(item.tenant_id, 0), item.tenant_id <= after, item.tenant_id),
    )
    return [item.tenant_id for item in order[: max(free, 0) * 2]]


def together(waiting: Sequence[Backlog], held: Sequence[Backlog]) -> tuple[list[Backlog], frozenset[str]]:
    """One queue of tenants out of what waits in the database and what this process holds; and those to be served from
    what it holds, because nothing of theirs that waits comes before it.
    """
    known = {item.tenant_id: item for item in waiting}
    first = []
    for item in held:
        queued = known.get(item.tenant_id)
        if queued is None or queued.head is None or item.head is None or item.head <= queued.head:
            known[item.tenant_id] = item
            first.append(item.tenant_id)
    return list(known.values()), frozenset(first)


def shares(
    tenant_ids: Sequence[str],
    in_flight: Mapping[str, int],
    running: Mapping[str, int],
    limits: Limits,
    *,
    first: frozenset[str] = frozenset(),
    held: frozenset[str] = frozenset(),
) -> list[Share]:
    """What each candidate gets. `in_flight` counts targets with leased operations over all replicas, for the tenants
    that are ours to lease for now. Of the tenants `held` in this process's tray, those in `first` are served from it,
    and those that nothing more can be leased for.
    """
    free = limits.runs_max - sum(running.values())
    granted: list[Share] = []
    for tenant_id in tenant_ids:
        if len(granted) == free:
            break
        leased = in_flight.get(tenant_id, limits.tenant_in_flight_max)
        room = min(limits.run_size_max, limits.tenant_in_flight_max - leased)
        if tenant_id in held and (tenant_id in first or room <= 0):
            granted.append(Share(tenant_id, limits.run_size_max, is_held=True))
        elif room > 0:
            granted.append(Share(tenant_id, room))
    return granted
