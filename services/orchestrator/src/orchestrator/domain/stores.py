"""What the rules ask of the database, in their own words; implemented in adapters/db, called with the open transaction.

All calls work on whole batches: the number of statements does not grow with the number of people. Rows that several
transactions may want are locked in one order: people by (customer, employee id), then ledgers by tenant id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.hr_event import HrEvent
from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.observed import TenantFacts
from orchestrator.domain.people import Person, Standing
from orchestrator.domain.plan import Reason
from orchestrator.domain.ports import Refusal, StartPlan
from orchestrator.domain.profile import Rulebook
from orchestrator.domain.reservations import Claim, Ledger, Reservation, UpnChoice

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

PersonKey = tuple[str, str]


@lean_dataclass(frozen=True, slots=True)
class Kept:
    """What a person holds already, from an earlier plan or an earlier try of this one."""

    upns: tuple[UpnChoice, ...] = ()
    number: FreeNumber | None = None
    number_site: str | None = None
    number_used: bool = False
    seats: frozenset[str] = frozenset()


NOTHING_KEPT = Kept()


@lean_dataclass(frozen=True, slots=True)
class Shelf:
    """The numbers of one site, counted for the refusal text."""

    first: str | None
    last: str | None
    total: int
    used: int
    reserved: int


@lean_dataclass(frozen=True, slots=True)
class Settled:
    """How one plan leaves its person. `proved`: the desired state of the plan is what the person has from now on.
    `again`: what was learnt calls for another plan at once.

    `user_id` and `observed` unset keep what was known before.
    """

    person_id: UUID
    plan_id: UUID
    status: str
    refusal: Refusal | None
    user_id: str | None
    proved: bool
    observed: Mapping[str, Any] | None
    again: bool = False


@lean_dataclass(frozen=True, slots=True)
class HeldNumber:
    """A number that Teams says a person has."""

    person_id: UUID
    customer: str
    number: str


@lean_dataclass(frozen=True, slots=True)
class CredentialNews:
    """cert-manager says that a tenant's credential works, or why it does not."""

    tenant_id: str
    works: bool
    credential_id: str | None = None
    not_after: datetime | None = None
    code: str | None = None
    message: str | None = None
    remedy: str | None = None


@lean_dataclass(frozen=True, slots=True)
class TenantObservation:
    """Output of `tenant.observe`, as the adapter gave it, and when it began to read."""

    tenant_id: str
    read_at: datetime
    organization: Mapping[str, Any]
    skus: Sequence[Mapping[str, Any]]
    groups: Sequence[Mapping[str, Any]]
    capabilities: Mapping[str, Any]
    has_more_groups: bool = False


class Rulebooks(Protocol):
    async def rulebooks(self, tx: AsyncConnection, customers: Collection[str]) -> Mapping[str, Rulebook]:
        """The current rules of the customers that exist."""
        ...


class People(Protocol):
    async def accept(
        self, tx: AsyncConnection, arrivals: Sequence[tuple[Person, Standing]], now: datetime
    ) -> tuple[set[PersonKey], list[Person]]:
        """Store facts that are newer than the known ones. Returns the keys of new people, which got the given standing,
        and the known people whose facts were replaced (otherwise untouched). Anyone in neither had newer facts already.
        """
        ...

    async def assume(self, tx: AsyncConnection, person: Person, now: datetime) -> UUID:
        """Store facts whatever their sequence, for a transaction that will be rolled back; returns the person's id."""
        ...

    async def place(self, tx: AsyncConnection, standings: Mapping[UUID, Standing], now: datetime) -> None: ...

    async def record(
        self, tx: AsyncConnection, events: Sequence[tuple[HrEvent, str, UUID | None]], now: datetime
    ) -> None:
        """Remember the events with their outcome ("accepted", "stale") and the plan they led to."""
        ...

    async def load(self, tx: AsyncConnection, person_ids: Collection[UUID]) -> list[Person]:
        """Lock and load whole people."""
        ...

    async def waiting(self, tx: AsyncConnection, count_max: int) -> list[Person]:
        """Lock and load people who wait for a tenant that is ready now, passing by those others hold."""
        ...

    async def last_seen(self, tx: AsyncConnection, person_id: UUID) -> tuple[Mapping[str, Any] | None, datetime | None]:
        """What was last read of the person in Entra ID, and when."""
        ...

    async def users(self, tx: AsyncConnection, keys: Collection[PersonKey]) -> Mapping[PersonKey, tuple[str, str]]:
        """(user id, UPN) of those who have been proved."""
        ...

    async def planned(
        self, tx: AsyncConnection, plans: Sequence[tuple[UUID, str, Mapping[str, Any], Standing]], now: datetime
    ) -> None:
        """Note UPN and desired state (person id, UPN, desired, standing) of people whose plan has been made."""
        ...

    async def settle(self, tx: AsyncConnection, settled: Sequence[Settled], now: datetime) -> list[Person]:
        """Note how plans ended, where the plan is still the person's last one. Returns the people to plan again."""
        ...


class Tenants(Protocol):
    async def ready(self, tx: AsyncConnection, tenant_ids: Collection[str]) -> frozenset[str]:
        """Those with a working credential that have been observed."""
        ...

    async def facts(self, tx: AsyncConnection, groups: Mapping[str, Collection[str]]) -> Mapping[str, TenantFacts]:
        """What the tenants hold, by tenant id; `groups` says which group names are of interest in each."""
        ...

    async def take_news(self, tx: AsyncConnection, news: Sequence[CredentialNews], now: datetime) -> None:
        """A working credential makes a tenant ready; a failed one ends registration, but never a working tenant."""
        ...

    async def observe_soon(self, tx: AsyncConnection, tenant_ids: Collection[str], now: datetime) -> None:
        """Have these tenants read again without waiting for their turn."""
        ...

    async def claim_due(self, tx: AsyncConnection, now: datetime, *, again_at: datetime, count_max: int) -> list[str]:
        """Ready tenants whose turn it is to be read; their next turn is `again_at`."""
        ...

    async def observed(self, tx: AsyncConnection, observations: Sequence[TenantObservation], now: datetime) -> None:
        """Replace what is known of these tenants; seats consumed by plans that ended before are counted there now."""
        ...

    async def unobserved(
        self, tx: AsyncConnection, failures: Mapping[str, Refusal], now: datetime, *, again_at: datetime
    ) -> None:
        """Note why tenants could not be read."""
        ...


class Ledgers(Protocol):
    async def lock(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> None:
        """Wait for the tenants' ledgers, in the given (sorted) order; held until the transaction ends."""
        ...

    async def occupied(
        self, tx: AsyncConnection, bases: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], list[int]]:
        """Ordinals of the alternatives of (tenant, plain name) that are reserved or known to be taken."""
        ...

    async def kept(self, tx: AsyncConnection, person_ids: Collection[UUID]) -> Mapping[UUID, Kept]: ...

    async def open(self, tx: AsyncConnection, claims: Sequence[Claim]) -> Ledger:
        """What is left for these claims; call it with the ledgers locked."""
        ...

    async def names_of_others(
        self, tx: AsyncConnection, chosen: Sequence[tuple[Claim, Reservation]]
    ) -> set[tuple[str, str]]:
        """Those of the chosen (tenant, name) that belong to other people under another plain name."""
        ...

    async def shelves(
        self, tx: AsyncConnection, sites: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Shelf]: ...

    async def reserve(self, tx: AsyncConnection, chosen: Sequence[tuple[Claim, Reservation]], now: datetime) -> None:
        """Write the reservations; what a person kept is taken over by the new plan."""
        ...

    async def note_taken(self, tx: AsyncConnection, names: Sequence[tuple[str, UpnChoice]]) -> None:
        """Remember (tenant, name) that others have, so that the next try asks about further ones."""
        ...

    async def release(self, tx: AsyncConnection, plan_ids: Collection[UUID], now: datetime) -> None:
        """Give back what these plans reserved and did not use."""
        ...

    async def set_aside(self, tx: AsyncConnection, numbers: Mapping[UUID, tuple[str, str]], now: datetime) -> None:
        """Take the numbers these plans reserved out of the offer: by plan, the status and the reason for people."""
        ...

    async def adopt_numbers(self, tx: AsyncConnection, held: Mapping[UUID, HeldNumber], now: datetime) -> set[UUID]:
        """Make numbers that people hold in the tenant theirs, by plan, unless the ledger says they are somebody
        else's in use. Returns the plans whose number is their person's now.
        """
        ...

    async def free_number(self, tx: AsyncConnection, customer: str, number: str, now: datetime) -> str | None:
        """Offer a number again that nobody holds. Returns its former status, None when there is no such number or
        somebody holds it.
        """
        ...

    async def give_back_numbers(self, tx: AsyncConnection, person_ids: Collection[UUID], now: datetime) -> None:
        """Give back numbers people have reserved but not used, when they need others."""
        ...

    async def use(
        self,
        tx: AsyncConnection,
        *,
        names: Collection[UUID],
        numbers: Collection[UUID],
        seats: Collection[UUID],
        now: datetime,
    ) -> None:
        """Make reservations of these plans final, each kind for the plans in which it is in place."""
        ...


class Plans(Protocol):
    """The plan engine's door."""

    async def start(self, tx: AsyncConnection, requests: Sequence[StartPlan]) -> None: ...

    async def withdraw(self, tx: AsyncConnection, plan_ids: Collection[UUID], reason: Reason) -> None:
        """Cancel plans that have not begun; each settles as cancelled."""
        ...


class TenantCommands(Protocol):
    """Commands that belong to no plan, through the outbox."""

    async def ensure_credentials(self, tx: AsyncConnection, orders: Sequence[CredentialOrder]) -> None: ...

    async def observe_tenants(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> None: ...


@lean_dataclass(frozen=True, slots=True)
class CredentialOrder:
    """See to it that a tenant has a certificate. `sealed_secret` can be opened by cert-manager only."""

    tenant_id: str
    customer: str
    organization: str
    client_id: str
    application_object_id: str
    cloud: str
    sealed_secret: str | None
