"""Who the mesh is for, at most: so many tenants, so many people, some tenants far larger than others.

Owns the assumptions. Every figure that is not arithmetic is named here with where it is from.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

TENANTS = 10_000
PEOPLE = 50_000_000
LARGEST_SHARE_MAX = 0.02
"""Of all people in one tenant: a million."""
TAIL = 1.1
"""Exponent of the Pareto distribution of tenant sizes; 1.16 is "a fifth has four fifths", smaller is more skewed."""

EVENTS_OF_A_PERSON_A_YEAR = 0.6
"""Assumed: 0.15 join, 0.15 leave, 0.3 change."""
PEAK = 50.0
"""Assumed: the busiest hour beside the mean hour of a year; the first working day of a month."""
SECONDS_A_YEAR = 365 * 24 * 3600

WRITES_OF_A_JOINER = 6
"""Counted (benchmarks/joiner.py): user, licence, three groups, manager."""
TENANT_WRITES_A_SECOND = 3_000 / 150
"""Microsoft's published limit of one app in one tenant."""

POSTGRES_CONNECTIONS = 100 - 3
"""PostgreSQL's own `max_connections`, less those kept for superusers."""
CONNECTIONS_OF_AN_ORCHESTRATOR = 10 + 3
"""Its pool by default, and three that listen: relay, timers, tenants."""


@dataclass(frozen=True, slots=True)
class World:
    """People of each tenant, largest first."""

    people: Sequence[int]

    @property
    def all_people(self) -> int:
        return sum(self.people)

    def share_of_largest(self, count: int) -> float:
        return sum(self.people[:count]) / self.all_people


def world(seed: int, tenants: int = TENANTS, people: int = PEOPLE) -> World:
    """Sizes drawn from the Pareto distribution and scaled to the sum; nobody is above LARGEST_SHARE_MAX."""
    draw = random.Random(f"world-{seed}")
    weights = [draw.paretovariate(TAIL) for _ in range(tenants)]
    limit = LARGEST_SHARE_MAX if tenants * LARGEST_SHARE_MAX >= 1 else 1.0
    for _ in range(20):  # what is cut from the largest goes to all; this settles after a few times
        total = sum(weights)
        weights = [min(weight, total * limit) for weight in weights]
    total = sum(weights)
    return World(sorted((max(round(people * weight / total), 1) for weight in weights), reverse=True))


def events_a_second(people: int, peak: float = 1.0) -> float:
    return people * EVENTS_OF_A_PERSON_A_YEAR / SECONDS_A_YEAR * peak


def joiners_a_second_of_a_tenant() -> float:
    """What Microsoft lets one app do in one tenant, whatever is added here."""
    return TENANT_WRITES_A_SECOND / WRITES_OF_A_JOINER
