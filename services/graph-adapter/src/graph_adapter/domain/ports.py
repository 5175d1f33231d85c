"""What the use cases need from the outside, as Protocols.

Owns the names of the doors. Refuses implementations: `adapters/` has them, `main.py` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from graph_adapter.domain.credential import Credential, Token
from graph_adapter.domain.fairness import Backlog, Share
from graph_adapter.domain.operation import Command, LeasedOperation, Reply
from graph_adapter.domain.progress import Answer, Created, Request
from graph_adapter.domain.settlement import Settlement
from graph_adapter.domain.views import Accepted, HandOver, OperationView, StoredReply, TenantView


class Operations(Protocol):
    """The table that is queue, inbox of commands and ledger at once."""

    async def room(self, tenant_ids: Sequence[str], now: datetime) -> Mapping[str, int]:
        """Of these tenants, those that are not paused, with the number of their targets that are leased. Keeps leasers
        away from them until the transaction ends; left out are those another one is at.
        """
        ...

    async def accept(self, commands: Sequence[Command], now: datetime, handed: HandOver | None) -> Accepted:
        """Writes the new ones down: queued, or leased where `handed` says so and nothing of their target is open."""
        ...

    async def waiting(self, now: datetime) -> Sequence[Backlog]:
        """Tenants with work due that are not paused."""
        ...

    async def longest_wait_seconds(self, now: datetime) -> float:
        """How long the oldest operation that could run has waited; of tenants that are paused none could."""
        ...

    async def claim(self, tenant_ids: Sequence[str]) -> Mapping[str, int]:
        """Keeps other leasers away from these tenants until the transaction ends; answers for how many targets of
        each operations are leased. Tenants another leaser is at are left out.
        """
        ...

    async def lease(
        self, shares: Sequence[Share], lease_ids: Mapping[str, UUID], now: datetime, until: datetime
    ) -> Sequence[LeasedOperation]:
        """Takes the first targets of each share, urgent lane first, under the tenant's lease id: of each its operations
        in their order, up to one that is not due or uses another credential.
        """
        ...

    async def settle(self, settlement: Settlement, now: datetime) -> frozenset[UUID]:
        """Writes the settlement; answers which of its operations were still held under the lease."""
        ...

    async def recover(self, now: datetime) -> int:
        """Puts operations with an expired lease back; the first of each target is marked as interrupted."""
        ...

    async def extend(
        self, operation_ids: Sequence[UUID], lease_ids: Sequence[UUID], due: datetime, until: datetime
    ) -> Sequence[UUID]:
        """Moves the end of these operations' leases, if still held under one of these and ending by `due`; answers
        which.
        """
        ...

    async def abandon(self, lease_id: UUID, operation_ids: Sequence[UUID], now: datetime) -> None:
        """Lets the lease of these operations expire at once."""
        ...

    async def purge(self, before: datetime, count_max: int) -> int:
        """Forgets finished operations and created objects that are older."""
        ...

    async def page(
        self, *, tenant_id: str | None, state: str | None, before: int | None, limit: int
    ) -> Sequence[OperationView]:
        """Newest first, from below `before`."""
        ...

    async def get(self, operation_id: UUID) -> OperationView | None: ...


class Tenants(Protocol):
    """What we remember about tenants and the directory objects we made in them."""

    async def get(self, tenant_ids: Sequence[str]) -> Mapping[str, TenantView]: ...

    async def created(self, tenant_id: str, object_ids: Sequence[str]) -> Mapping[str, Created]: ...


class Credentials(Protocol):
    """Sealed credentials and which one is active."""

    async def keep(self, credentials: Sequence[tuple[Credential, bytes]], now: datetime) -> None: ...

    async def activate(self, activations: Sequence[tuple[str, UUID]], now: datetime) -> frozenset[UUID]:
        """(tenant, credential) pairs in order; answers those that are known here."""
        ...

    async def load(self, credential_id: UUID) -> tuple[Credential, bytes] | None: ...


class Replies(Protocol):
    """The outbox."""

    async def send(self, replies: Sequence[Reply]) -> None: ...

    async def resend(self, replies: Sequence[StoredReply]) -> None: ...


class Unit(Protocol):
    """One open transaction."""

    def at_end(self, call: Callable[[bool], None]) -> None:
        """`call` is told how the transaction ended: True only when it is known to be durable."""
        ...

    @property
    def operations(self) -> Operations: ...

    @property
    def tenants(self) -> Tenants: ...

    @property
    def credentials(self) -> Credentials: ...

    @property
    def replies(self) -> Replies: ...


class Store(Protocol):
    """Opens transactions; leaving the block commits."""

    def transaction(self) -> AbstractAsyncContextManager[Unit]: ...

    def read(self) -> AbstractAsyncContextManager[Unit]: ...


class Graph(Protocol):
    """Microsoft Graph, at most 20 requests a call. Never raises for what Graph or the network does: that is in the
    answers.
    """

    async def batch(self, graph_url: str, token: str, requests: Sequence[Request]) -> Sequence[Answer]: ...


class Tokens(Protocol):
    """Sign-in. Raises CredentialRefused, TenantMismatch, NotFound (credential not here), or Unavailable (with
    `detail.retry_after_seconds`).
    """

    async def token(self, tenant_id: str, credential_id: UUID) -> Token: ...

    async def renew(self, stale: Token) -> Token:
        """A token that is not `stale`; one sign-in however many ask."""
        ...


class Vault(Protocol):
    """Takes a secret that was sealed for us and seals it for our own database."""

    def take(self, credential_id: UUID, jwe: str) -> bytes: ...


class Observer(Protocol):
    """Spans and metrics."""

    def round(
        self, tenant_id: str, operations: Sequence[Command], request_count: int
    ) -> AbstractContextManager[None]: ...

    def finished(self, reply: Reply) -> str | None:
        """Records an operation that ended; answers the `traceparent` of its span, for the reply's message."""
        ...

    def throttled(self, tenant_id: str, seconds: float) -> None: ...

    def queue_age(self, seconds: float) -> None:
        """The longest wait in the queue, of all replicas."""
        ...
