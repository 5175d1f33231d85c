"""Seats, numbers and names promised to people before anything is written in a tenant: all of them or nothing.

    claim  = what one plan needs            ledger = what the tenant has left, under its lock
    claim + ledger -> Reservation, or the shortage that refuses the plan

Owns the choice: lowest free number of the site, first free name, one seat of each pool. A batch of claims is decided in
order against one ledger, so two people of a batch never get the same thing. Refuses to touch rows.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.naming import CANDIDATE_COUNT_MAX, LOCAL_PART_LENGTH_MAX, first_candidates, upn_candidate
from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.seats import SeatPool, lacking, take

ORDINAL_MAX = 9_999


@lean_dataclass(frozen=True, slots=True)
class UpnChoice:
    upn: str
    base: str
    ordinal: int


@lean_dataclass(frozen=True, slots=True)
class Claim:
    """What one plan needs.

    `local` and `domain` make the name's alternatives; `kept_upn` is a name that is the person's already (then nothing
    is chosen). `seats` are SKU ids without the ones held already. `site` unset: no number is needed. `takes_over`: the
    person may hold reservations of an earlier plan, which become this plan's.
    """

    plan_id: UUID
    person_id: UUID
    tenant_id: str
    customer: str
    local: str
    domain: str
    taken: frozenset[str] = frozenset()
    kept_upn: UpnChoice | None = None
    seats: tuple[str, ...] = ()
    site: str | None = None
    takes_over: bool = False


@lean_dataclass(frozen=True, slots=True)
class Reservation:
    """What the person is promised; `number` and `seats` only name what is new."""

    upn: UpnChoice
    number: FreeNumber | None
    seats: tuple[str, ...]


@lean_dataclass(frozen=True, slots=True)
class NoSeats:
    pool: SeatPool


@lean_dataclass(frozen=True, slots=True)
class NoNumbers:
    customer: str
    site: str


@lean_dataclass(frozen=True, slots=True)
class NoName:
    """No usable name: nothing left of the person's names, or all `taken` belong to others in the tenant."""

    taken: tuple[UpnChoice, ...]


Shortage = NoSeats | NoNumbers | NoName


@dataclass(slots=True)
class Ledger:
    """What is left, for the length of one batch.

    `pools` by (tenant, SKU); `free` numbers by (customer, site), lowest first; `reserved` holds (tenant, name).
    """

    pools: Mapping[tuple[str, str], SeatPool]
    free: Mapping[tuple[str, str], deque[FreeNumber]]
    reserved: set[tuple[str, str]] = field(default_factory=set)

    def reserve(self, claim: Claim) -> Reservation | Shortage:
        """Everything the claim needs, or the first thing that lacks; a shortage takes nothing."""
        pools = [self.pools[claim.tenant_id, sku] for sku in claim.seats]
        pool = lacking(pools)
        if pool is not None:
            return NoSeats(pool)
        numbers = self.free.get((claim.customer, claim.site)) if claim.site is not None else None
        if claim.site is not None and not numbers:
            return NoNumbers(claim.customer, claim.site)
        upn = claim.kept_upn or self._name(claim)
        if isinstance(upn, NoName):
            return upn
        take(pools)
        self.reserved.add((claim.tenant_id, upn.upn))
        return Reservation(upn, numbers.popleft() if numbers else None, claim.seats)

    def _name(self, claim: Claim) -> UpnChoice | NoName:
        """The first alternative nobody has.

        It may be one the tenant was not asked about, when colleagues of the same name were planned meanwhile; should
        somebody have it after all, `user.ensure` refuses. With every asked name taken a further guess would be blind.
        """
        base = upn_candidate(claim.local, claim.domain, 1)
        taken: list[UpnChoice] = []
        for ordinal in range(1, ORDINAL_MAX + 1 if claim.local else 1):
            choice = UpnChoice(upn_candidate(claim.local, claim.domain, ordinal), base, ordinal)
            if choice.upn in claim.taken:
                taken.append(choice)
                if len(taken) == CANDIDATE_COUNT_MAX:
                    break
            elif (claim.tenant_id, choice.upn) not in self.reserved:
                return choice
        return NoName(tuple(taken))


def candidates(local: str, domain: str, occupied: Iterable[int]) -> list[str]:
    """The names to ask the tenant about: the first ten alternatives that no colleague has reserved."""
    skip = set(occupied)
    if not skip and 0 < len(local) <= LOCAL_PART_LENGTH_MAX - 2:
        return first_candidates(local, domain)
    names: list[str] = []
    ordinal = 0
    while local and len(names) < CANDIDATE_COUNT_MAX and ordinal < ORDINAL_MAX:
        ordinal += 1
        if ordinal not in skip:
            names.append(upn_candidate(local, domain, ordinal))
    return names
