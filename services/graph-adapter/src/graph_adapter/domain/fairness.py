"""Which tenants are served next, and with how many operations.

Owns fairness: every waiting tenant gets a share before any gets a second one, urgent work first, and nobody more than
its cap. Refuses to look at what the operations are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """One tenant that has work due. `urgent`: its first operation is in the urgent lane."""

    tenant_id: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class Share:
    """Take up to `take` targets of the tenant: the operations of one run one after the other."""

    tenant_id: str
    take: int


@dataclass(frozen=True, slots=True)
class Limits:
    """`run_size_max` targets go into one run; `tenant_in_flight_max` bounds one tenant's over all replicas; `runs_max`
    bounds this process, `runs_per_tenant_max` one tenant inside it.
    """

    run_size_max: int = 200
    tenant_in_flight_max: int = 600
    runs_max: int = 24
    runs_per_tenant_max: int = 3


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
        (item for item in waiting if running.get(item.tenant_id, 0) < limits.runs_per_tenant_max),
        key=lambda item: (not item.urgent, running.get(item.tenant_id, 0), item.tenant_id <= after, item.tenant_id),
    )
    return [item.tenant_id for item in order[: max(free, 0) * 2]]


def shares(
    tenant_ids: Sequence[str], in_flight: Mapping[str, int], running: Mapping[str, int], limits: Limits
) -> list[Share]:
    """What each candidate gets. `in_flight` counts targets with leased operations over all replicas, for the tenants
    that are ours to serve now.
    """
    free = limits.runs_max - sum(running.values())
    granted: list[Share] = []
    for tenant_id in tenant_ids:
        if tenant_id not in in_flight:
            continue
        room = min(limits.run_size_max, limits.tenant_in_flight_max - in_flight[tenant_id])
        if room > 0 and len(granted) < free:
            granted.append(Share(tenant_id, room))
    return granted
