"""How long a tenant waits for a turn at graph-adapter's workers, and how long a great onboarding lasts.

A discrete simulation: in each step of one second, workers in an order drawn from the seed ask for runs as the product
does (`graph_adapter.domain.fairness`), and a run lasts one step. A tenant's queue shrinks by what Microsoft's
limits and the run's size allow. Refuses to know what a run costs a machine: that is measured, not simulated.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graph_adapter.domain.fairness import Backlog, Limits, candidates, shares


@dataclass(frozen=True, slots=True)
class Turns:
    """In steps: how long tenants waited for their first run, and when the last person of each was done."""

    first_wait: Sequence[int]
    done: Sequence[int]


def simulate(
    backlogs: Sequence[int], workers: int, seed: int, *, people_a_step_max: float, limits: Limits, steps_max: int
) -> Turns:
    """`backlogs`: people that wait in each tenant. A tenant gets at most `people_a_step_max` done in a step."""
    draw = random.Random(f"turns-{seed}")
    left = {_name(n): float(count) for n, count in enumerate(backlogs) if count}
    first: dict[str, int] = {}
    done: dict[str, int] = {}
    last_served: list[str | None] = [None] * workers
    for step in range(steps_max):
        if not left:
            return Turns(sorted(first.values()), [done[name] for name in sorted(done)])
        room = dict.fromkeys(left, people_a_step_max)
        in_flight: Counter[str] = Counter()
        for worker in draw.sample(range(workers), workers):
            last_served[worker] = _serve(left, room, in_flight, limits, last_served[worker], step, first)
        for name in [name for name, count in left.items() if count <= 0]:
            del left[name]
            done[name] = step + 1
    raise RuntimeError(f"{len(left)} tenants are not done after {steps_max} steps")


def _serve(
    left: dict[str, float],
    room: dict[str, float],
    in_flight: Counter[str],
    limits: Limits,
    last_served: str | None,
    step: int,
    first: dict[str, int],
) -> str | None:
    """One worker's runs of one step; who was served last."""
    running: Mapping[str, int] = {}
    waiting = [Backlog(name, urgent=False) for name, count in left.items() if count > 0 and room[name] > 0]
    wanted = candidates(waiting, running, limits, last_served)
    for share in shares(wanted, {name: in_flight[name] for name in wanted}, running, limits):
        served = min(share.take, room[share.tenant_id], left[share.tenant_id])
        in_flight[share.tenant_id] += share.take
        room[share.tenant_id] -= served
        left[share.tenant_id] -= served
        first.setdefault(share.tenant_id, step)
        last_served = share.tenant_id
    return last_served


def _name(n: int) -> str:
    return f"tenant-{n:06d}"
