"""Who may be served now: the count of running visits against the limits.

Owns the arithmetic of fairness inside one replica. A lowered limit never stops running work: it drains. Refuses to
know how a session comes about.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.operations import Stream
from pwsh_gateway.domain.visits import Visit


@dataclass(slots=True)
class Seats:
    """Running visits, and streams that have to pause (throttled, or their log-in was refused)."""

    _running: Counter[Stream] = field(default_factory=Counter)
    _customers: Counter[str] = field(default_factory=Counter)
    _customer_of: dict[Stream, str] = field(default_factory=dict)
    _paused_until: dict[Stream, float] = field(default_factory=dict)

    def free_count(self, config: GatewayConfig) -> int:
        """How many more visits this replica may start."""
        return max(0, config.concurrency_global_max - self._running.total())

    def take(self, visit: Visit, config: GatewayConfig) -> bool:
        """Takes a seat for the visit, unless a limit forbids it."""
        self._customer_of[visit.stream] = visit.customer
        if self.free_count(config) == 0 or self._is_full(visit.stream, config):
            return False
        self._running[visit.stream] += 1
        self._customers[visit.customer] += 1
        return True

    def leave(self, visit: Visit) -> None:
        """The visit is over."""
        self._running[visit.stream] -= 1
        self._customers[visit.customer] -= 1
        if self._running[visit.stream] <= 0:
            del self._running[visit.stream]
        if self._customers[visit.customer] <= 0:
            del self._customers[visit.customer]

    def pause(self, stream: Stream, until: float) -> None:
        """Serve nobody of this stream before `until` (monotonic seconds)."""
        self._paused_until[stream] = max(until, self._paused_until.get(stream, 0.0))

    def resume(self, tenant_id: str) -> None:
        """Something changed for the tenant: its pauses are over."""
        for stream in [stream for stream in self._paused_until if stream.tenant_id == tenant_id]:
            del self._paused_until[stream]

    def paused_tenants(self) -> list[str]:
        """Tenants with a stream that pauses."""
        return sorted({stream.tenant_id for stream in self._paused_until})

    def closed(self, config: GatewayConfig, now: float) -> list[Stream]:
        """Streams to leave out when looking for work."""
        for stream in [stream for stream, until in self._paused_until.items() if until <= now]:
            del self._paused_until[stream]
        known = self._customer_of.keys() | self._running.keys()
        full = {stream for stream in known if self._is_full(stream, config)}
        for stream in [s for s in self._customer_of if s not in self._running and s not in full]:
            del self._customer_of[stream]
        return sorted(full | self._paused_until.keys(), key=lambda s: (s.tenant_id, s.module, s.credential))

    def _is_full(self, stream: Stream, config: GatewayConfig) -> bool:
        customer = self._customer_of.get(stream, stream.tenant_id)
        return self._running[stream] >= config.concurrency_per_stream_max or self._customers[
            customer
        ] >= config.customer_max(customer)
