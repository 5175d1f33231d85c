"""Which tenants are served next, and with how many operations.

Owns fairness: every waiting tenant gets a share before any gets a second one, urgent work first, and nobody more than
its cap. Refuses to look at what the operations are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """One tenant that has work due. `urgent`: its first operation is in the urgent lane; `leased_count`: in flight,
    over all replicas.
    """

    tenant_id: str
    urgent: bool
    leased_count: int


@dataclass(frozen=True, slots=True)
class Share:
    """Take up to `take` operations of the tenant."""

    tenant_id: str
    take: int


@dataclass(frozen=True, slots=True)
class Limits:
    """`run_size_max` operations go into one run; `tenant_in_flight_max` bounds one tenant over all replicas;
    `runs_max` bounds this process, `runs_per_tenant_max` one tenant inside it.
    """

    run_size_max: int = 200
    tenant_in_flight_max: int = 600
    runs_max: int = 24
    runs_per_tenant_max: int = 3


def choose(
    waiting: Sequence[Backlog], running: dict[str, int], limits: Limits, last_served: str | None = None
) -> list[Share]:
    """The shares of this round. `running` counts this process's runs by tenant; `last_served` is where the previous
    round ended.

    Order: urgent before others; among equals the tenant after `last_served` in the circle of tenant ids comes first;
    tenants that have no run yet come before those that have.
    """
    free = limits.runs_max - sum(running.values())
    after = last_served or ""
    order = sorted(
        waiting,
        key=lambda item: (not item.urgent, running.get(item.tenant_id, 0), item.tenant_id <= after, item.tenant_id),
    )
    shares: list[Share] = []
    for item in order:
        if len(shares) >= free:
            break
        room = min(limits.run_size_max, limits.tenant_in_flight_max - item.leased_count)
        if room > 0 and running.get(item.tenant_id, 0) < limits.runs_per_tenant_max:
            shares.append(Share(item.tenant_id, room))
    return shares
