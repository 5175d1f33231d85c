"""Graph's published directory limits as token buckets: resource units and writes per app and tenant, per app, per
tenant. Owns the arithmetic and the figures; deciding what a request costs is `price`. A throttled request still spends
what is left, because retries count against the bucket."""

import math
from dataclasses import dataclass, field

# (resource units per window, window seconds), by tenant size: S below 50 users, M to 500, L above.
UNITS_PER_APP_AND_TENANT = {"S": 3500.0, "M": 5000.0, "L": 8000.0}
UNITS_WINDOW_SECONDS = 10.0
WRITES_PER_APP_AND_TENANT, WRITES_WINDOW_SECONDS = 3000.0, 150.0
UNITS_PER_APP, UNITS_PER_APP_WINDOW_SECONDS = 150_000.0, 20.0
WRITES_PER_APP, WRITES_PER_APP_WINDOW_SECONDS = 70_000.0, 300.0
WRITES_PER_TENANT, WRITES_PER_TENANT_WINDOW_SECONDS = 18_000.0, 300.0
PERCENTAGE_SHOWN_FROM = 0.8


@dataclass(slots=True)
class Bucket:
    """Fills at capacity / window per second; starts full."""

    capacity: float
    window_seconds: float
    level: float = field(init=False)
    filled_at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.capacity

    def fill(self, now: float) -> None:
        if self.filled_at:
            self.level = min(self.capacity, self.level + (now - self.filled_at) * self.capacity / self.window_seconds)
        self.filled_at = now

    def missing_seconds(self, cost: float) -> float:
        """How long until `cost` is there; 0 when it is."""
        return max(0.0, (cost - self.level) * self.window_seconds / self.capacity)

    @property
    def used(self) -> float:
        return 1 - self.level / self.capacity


@dataclass(slots=True)
class AppBudget:
    units: Bucket
    writes: Bucket


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_seconds` is None for a request that may pass; `information` names the limit that was hit."""

    retry_after_seconds: int | None = None
    scope: str = ""
    information: str = ""
    used: float = 0.0


def price(method: str, base_units: int, *, select: bool, expand: bool, top: int | None) -> int:
    """Resource units of one request, never below 1."""
    if method != "GET":
        return 1
    units = base_units - (1 if select else 0) + (1 if expand else 0) - (1 if top is not None and top < 20 else 0)
    return max(1, units)


class WorldBudget:
    """The limits of one app over all tenants."""

    def __init__(self) -> None:
        self._apps: dict[str, AppBudget] = {}

    def of(self, client_id: str) -> AppBudget:
        budget = self._apps.get(client_id)
        if budget is None:
            budget = AppBudget(
                Bucket(UNITS_PER_APP, UNITS_PER_APP_WINDOW_SECONDS),
                Bucket(WRITES_PER_APP, WRITES_PER_APP_WINDOW_SECONDS),
            )
            self._apps[client_id] = budget
        return budget


class TenantBudget:
    """The limits inside one tenant."""

    def __init__(self) -> None:
        self._apps: dict[str, AppBudget] = {}
        self._writes = Bucket(WRITES_PER_TENANT, WRITES_PER_TENANT_WINDOW_SECONDS)

    def spend(
        self, client_id: str, tenant_size: str, *, units: int, write: bool, now: float, world: WorldBudget, ids: str
    ) -> Verdict:
        """Takes the cost from every bucket it falls under, or says which one is empty and for how long."""
        local = self._apps.get(client_id)
        capacity = UNITS_PER_APP_AND_TENANT[tenant_size]
        if local is None or local.units.capacity != capacity:
            local = AppBudget(
                Bucket(capacity, UNITS_WINDOW_SECONDS), Bucket(WRITES_PER_APP_AND_TENANT, WRITES_WINDOW_SECONDS)
            )
            self._apps[client_id] = local
        everywhere = world.of(client_id)
        charges = [(local.units, float(units), "Tenant_Application", "ResourceUnitLimitExceeded")]
        charges.append((everywhere.units, float(units), "Application", "ResourceUnitLimitExceeded"))
        if write:
            charges.append((local.writes, 1.0, "Tenant_Application", "WriteLimitExceeded"))
            charges.append((everywhere.writes, 1.0, "Application", "WriteLimitExceeded"))
            charges.append((self._writes, 1.0, "Tenant", "WriteLimitExceeded"))
        worst = Verdict()
        for bucket, cost, scope, information in charges:
            bucket.fill(now)
            wait = bucket.missing_seconds(cost)
            if wait and wait > (worst.retry_after_seconds or 0):
                worst = Verdict(
                    math.ceil(wait),
                    f"{scope}/{'Write' if 'Write' in information else 'ReadWrite'}/{ids}",
                    information,
                    1.0,
                )
        for bucket, cost, _, _ in charges:
            bucket.level = max(0.0, bucket.level - cost)
        if worst.retry_after_seconds is not None:
            return worst
        return Verdict(used=max(bucket.used for bucket, _, _, _ in charges))
