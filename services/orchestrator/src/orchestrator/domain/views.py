"""What can be looked at: rows for lists and single things, by key. Implemented in adapters/db/views.

Owns the shapes between the database and the API. Refuses to decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from orchestrator.domain.configuration import TenantRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class CustomerView:
    customer: str
    name: str
    version: int
    applied_at: datetime
    applied_by: str


@dataclass(frozen=True, slots=True)
class HistoryView:
    """One version of one configuration row."""

    kind: str
    name: str
    version: int
    removed: bool
    applied_at: datetime
    applied_by: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NumberView:
    number: str
    site: str
    type: str
    location_id: str | None
    status: str
    listed: bool
    employee_id: str | None
    plan_id: UUID | None
    note: str | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class SeatView:
    """One licence pool. `available` is what can still be promised."""

    tenant_id: str
    sku_id: str
    part_number: str
    capability_status: str
    total: int
    consumed: int
    held: int
    available: int
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class PersonView:
    person_id: UUID
    customer: str
    employee_id: str
    sequence: int
    effective_date: date | None
    facts: Mapping[str, Any]
    status: str
    refusal: Mapping[str, Any] | None
    site: str | None
    profile: str | None
    tenant_id: str | None
    plan_id: UUID | None
    upn: str | None
    user_id: str | None
    number: str | None
    desired: Mapping[str, Any] | None
    observed: Mapping[str, Any] | None
    observed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Views(Protocol):
    """Lists are ordered by their key and start after the given one."""

    async def customers(self, tx: AsyncConnection, *, after: str | None, limit: int) -> list[CustomerView]: ...

    async def customer(self, tx: AsyncConnection, customer: str) -> CustomerView | None: ...

    async def document(self, tx: AsyncConnection, customer: CustomerView) -> Mapping[str, Any]:
        """The current configuration, without secrets."""
        ...

    async def tenant(self, tx: AsyncConnection, tenant_id: str) -> TenantRow | None: ...

    async def history(
        self, tx: AsyncConnection, customer: str, *, before: tuple[int, str, str] | None, limit: int
    ) -> list[HistoryView]:
        """Newest version first, then by kind and name."""
        ...

    async def numbers(
        self,
        tx: AsyncConnection,
        customer: str,
        *,
        site: str | None,
        status: str | None,
        after: str | None,
        limit: int,
    ) -> list[NumberView]: ...

    async def seats(
        self, tx: AsyncConnection, customer: str, *, after: tuple[str, str] | None, limit: int
    ) -> list[SeatView]: ...

    async def people(
        self,
        tx: AsyncConnection,
        *,
        customer: str | None,
        status: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[PersonView]: ...

    async def person(self, tx: AsyncConnection, customer: str, employee_id: str) -> PersonView | None: ...
