"""Seats: how many licences of a tenant's pool can still be promised.

    available = enabled + warning - consumed (as observed) - holds (promised by us since)

Owns the arithmetic and the all-or-nothing choice for one person. Refuses to count what the tenant did not report: an
unknown or suspended pool has no seats. Source: reference microsoft.md 2.9, domain.md 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ASSIGNABLE = frozenset({"Enabled", "Warning"})


@dataclass(slots=True)
class SeatPool:
    """One SKU of one tenant; `held` grows while a batch reserves from it."""

    sku_id: str
    part_number: str
    capability_status: str
    enabled: int
    warning: int
    consumed: int
    held: int

    @property
    def total(self) -> int:
        return self.enabled + self.warning if self.capability_status in ASSIGNABLE else 0

    @property
    def available(self) -> int:
        return self.total - self.consumed - self.held


def lacking(pools: Sequence[SeatPool]) -> SeatPool | None:
    """The first of the wanted pools without a seat, or None: a person gets all of them or none."""
    return next((pool for pool in pools if pool.available < 1), None)


def take(pools: Sequence[SeatPool]) -> None:
    """Promise one seat of each; call only when nothing is lacking."""
    for pool in pools:
        if pool.available < 1:
            raise AssertionError(f"no seat left in {pool.part_number}")
        pool.held += 1
