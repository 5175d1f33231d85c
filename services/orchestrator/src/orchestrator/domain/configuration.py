"""What applying a customer document changes: row by row, so that every row has its own history.

Owns the comparison and the ports of applying. Refuses to look inside a row: two rows are equal when their JSON is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from orchestrator.domain.customer import Tenant
from orchestrator.domain.numbers import NumberRange

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

RowKey = tuple[str, str]
Rows = Mapping[RowKey, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """The rows that are current at `version`; 0 = the customer was never applied."""

    name: str
    version: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Change:
    """One row that differs. `fields` are those whose value differs; `document` is the row as it is from now on."""

    kind: str
    name: str
    action: Literal["added", "changed", "removed"]
    fields: tuple[str, ...]
    position: int
    document: Mapping[str, Any]


def changes(current: Rows, wanted: Rows) -> list[Change]:
    """Rows to add, change and remove, in the order of the document, removed ones last."""
    found: list[Change] = []
    for position, ((kind, name), document) in enumerate(wanted.items()):
        known = current.get((kind, name))
        if known is None:
            found.append(Change(kind, name, "added", tuple(document), position, document))
        elif known != document:
            fields = tuple(field for field in {**document, **known} if known.get(field) != document.get(field))
            found.append(Change(kind, name, "changed", fields, position, document))
    gone = (key for key in current if key not in wanted)
    found.extend(Change(kind, name, "removed", (), 0, current[kind, name]) for kind, name in gone)
    return found


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant as it stands. `reason` says why registration failed, `observation` why the last read of it did."""

    tenant_id: str
    customer: str
    name: str
    organization: str
    domain: str
    cloud: str
    client_id: str
    application_object_id: str
    state: str
    state_at: datetime
    reason: Mapping[str, Any] | None = None
    credential_id: str | None = None
    credential_not_after: datetime | None = None
    capabilities: Mapping[str, Any] | None = None
    observed_at: datetime | None = None
    observation: Mapping[str, Any] | None = None


class Configurations(Protocol):
    async def lock(self, tx: AsyncConnection, customer: str, *, actor: str, now: datetime) -> StoredConfiguration:
        """The current rows, locked until the transaction ends; a customer that does not exist is begun."""
        ...

    async def save(
        self,
        tx: AsyncConnection,
        customer: str,
        name: str,
        version: int,
        changes: Collection[Change],
        *,
        actor: str,
        now: datetime,
    ) -> None:
        """A new version of the customer and of the rows that changed."""
        ...


class Inventory(Protocol):
    """A customer's tenants and numbers."""

    async def tenants(self, tx: AsyncConnection, customer: str) -> list[TenantRow]: ...

    async def owners(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> Mapping[str, str]:
        """The customers to whom these tenants belong already."""
        ...

    async def save_tenants(
        self, tx: AsyncConnection, customer: str, tenants: Sequence[Tenant], registering: Collection[str], now: datetime
    ) -> None:
        """Write the tenants; those in `registering` start over."""
        ...

    async def tenants_in_use(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> list[str]:
        """Those with people."""
        ...

    async def remove_tenants(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> None: ...

    async def sync_numbers(
        self, tx: AsyncConnection, customer: str, ranges: Sequence[NumberRange], now: datetime
    ) -> None:
        """Bring the inventory to the document: a number in use is never taken away, only no longer offered."""
        ...
