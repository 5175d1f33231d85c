"""All tenants of one simulator process. Owns the clock, the knobs, the signing key and the lookup from a tenant name to
a tenant."""

import random
from collections.abc import Mapping

from ucmesh_simulator.clock import SimClock
from ucmesh_simulator.identity.signing import TokenSigner
from ucmesh_simulator.knobs import Knobs
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.throttling import WorldBudget

TENANTS_MAX = 5_000


class World:
    """`seed` makes ids, jitter and chance repeatable; the signing key and request ids are not part of that."""

    def __init__(self, *, seed: str = "1", clock: SimClock | None = None) -> None:
        self.seed = seed
        self.clock = clock or SimClock()
        self.knobs = Knobs()
        self.signer = TokenSigner()
        self.tenants: dict[str, Tenant] = {}
        self.tenant_id_by_domain: dict[str, str] = {}
        self.budget = WorldBudget()
        self.writes = 0  # counted by the doors; reads change counters only
        self._overrides: dict[str, dict[str, object]] = {}
        self._request_ids = random.Random()

    def add(self, tenant: Tenant) -> None:
        """Replaces a tenant of the same id."""
        if len(self.tenants) >= TENANTS_MAX and tenant.id not in self.tenants:
            raise ValueError(f"at most {TENANTS_MAX} tenants")
        self.remove(tenant.id)
        self.tenants[tenant.id] = tenant
        for domain in tenant.domains:
            self.tenant_id_by_domain[domain.lower()] = tenant.id

    def remove(self, tenant_id: str) -> None:
        former = self.tenants.pop(tenant_id, None)
        if former is not None:
            for domain in former.domains:
                self.tenant_id_by_domain.pop(domain.lower(), None)

    def find(self, name: str) -> Tenant | None:
        """By tenant id or any verified domain."""
        lowered = name.lower()
        return self.tenants.get(lowered) or self.tenants.get(self.tenant_id_by_domain.get(lowered, ""))

    def reset(self) -> None:
        """Forgets every tenant and every budget; knobs and clock stay."""
        self.tenants.clear()
        self.tenant_id_by_domain.clear()
        self.budget = WorldBudget()
        self._overrides.clear()

    def new_request_id(self) -> str:
        # A version 4 UUID; by hand, because there is one for every request.
        text = f"{self._request_ids.getrandbits(128):032x}"
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

    # -- knobs --------------------------------------------------------------------------------------------------------
    def knobs_for(self, tenant_id: str) -> Knobs:
        return self.knobs.patched(self._overrides.get(tenant_id, {}))

    def turn(self, changes: Mapping[str, object], tenant_id: str | None = None) -> None:
        """Changes knobs for one tenant or for all (tenants keep what was set for them). Raises KnobError, then nothing
        changed."""
        if tenant_id is None:
            self.knobs = self.knobs.patched(changes)
        else:
            wanted = {**self._overrides.get(tenant_id, {}), **changes}
            self.knobs.patched(wanted)
            self._overrides[tenant_id] = wanted
        for tenant in self.tenants.values():
            tenant.knobs = self.knobs_for(tenant.id)
