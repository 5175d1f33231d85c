"""What the use cases need from outside."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cert_manager.domain.credential import Credential, Registration, Request, State, Workload


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key pair: the public part in clear, the bundle (PFX, its password, PEM key) still to be sealed."""

    certificate_der: bytes
    thumbprint: str
    not_before: datetime
    not_after: datetime
    bundle: bytes


class Issuer(Protocol):
    """Makes self-signed certificates."""

    async def issue(self, *, common_name: str, key_bits: int, validity_days: int, now: datetime) -> Issued:
        """RSA, SHA-256, for client authentication; runs off the event loop."""
        ...


class Vault(Protocol):
    """Opens what was sealed to us, keeps secrets sealed at rest, seals them to receivers."""

    def open_bootstrap(self, jwe: str, tenant_id: str) -> bytes:
        """The client secret sealed to cert-manager; InvalidInput if it is not for us or was altered."""
        ...

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """For our own database."""
        ...

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """What :meth:`seal` made."""
        ...

    def seal_for(self, receiver: str, plaintext: bytes, *, context: str) -> str:
        """A compact JWE that only ``receiver`` can open."""
        ...


class Unit(Protocol):
    """One transaction: the rows of registrations and credentials, and the messages sent with them."""

    async def save_registration(self, registration: Registration, secret: bytes | None) -> None:
        """Insert or replace; ``secret`` is sealed, None keeps the stored one."""
        ...

    async def lease(self, limit: int, lease_seconds: float) -> list[str]:
        """Tenants that are due, each leased so that no other replica takes it."""
        ...

    async def situation(self, tenant_id: str) -> tuple[Registration, list[Credential]] | None:
        """A tenant's registration, locked for this transaction, and all its credentials with their newest requests."""
        ...

    async def secret(self, credential_id: UUID) -> bytes:
        """The sealed secret part of a credential."""
        ...

    async def bootstrap_secret(self, tenant_id: str) -> bytes | None:
        """The sealed bootstrap secret of a registration."""
        ...

    async def certificate_der(self, credential_id: UUID) -> bytes | None:
        """The public part; None for a client secret."""
        ...

    async def add_credential(self, credential: Credential, *, sealed: bytes, certificate_der: bytes | None) -> None:
        """Insert a credential."""
        ...

    async def set_state(self, credential_id: UUID, state: State) -> None:
        """Move a credential on."""
        ...

    async def add_request(self, operation_id: UUID, credential: Credential, request: Request) -> None:
        """Remember a command that was sent."""
        ...

    async def answer(self, replies: Sequence["Answer"]) -> None:
        """Record replies by operation id and make their tenants due; unknown ones are ignored."""
        ...

    async def wake(self, tenant_id: str, due_at: datetime | None) -> None:
        """When to look at the tenant again; None = only when something arrives. Ends the lease."""
        ...

    async def publish(self, message: "Outgoing") -> None:
        """Append to the outbox."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message in domain terms; ``wire.py`` says how it looks outside."""

    kind: str
    tenant_id: str
    credential: Credential | None = None
    operation_id: UUID | None = None
    workload: Workload | None = None
    registration: Registration | None = None
    sealed: Mapping[str, str] | None = None
    certificate_der: bytes | None = None
    code: str | None = None
    message: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of an adapter to one of our commands."""

    operation_id: UUID
    outcome: str
    code: str | None
    message: str | None
    retryable: bool
    at: datetime


class Units(Protocol):
    """Opens transactions."""

    def begin(self) -> AbstractAsyncContextManager[Unit]:
        """Commits at the end of the block, rolls back when it raises."""
        ...


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A credential as it is shown; never its secret part."""

    credential_id: UUID
    tenant_id: str
    customer: str
    client_id: str
    kind: str
    state: str
    thumbprint: str | None
    not_before: datetime
    not_after: datetime | None
    created_at: datetime
    waiting_for: Sequence[str]
    last_error: str | None


class CertificateViews(Protocol):
    """Reads for the API."""

    async def page(self, tenant_id: str | None, after: UUID | None, limit: int) -> list[CertificateView]:
        """By credential id, which is in order of creation."""
        ...

    async def get(self, credential_id: UUID) -> CertificateView | None:
        """One, or None."""
        ...

    async def certificate_der(self, credential_id: UUID) -> bytes | None:
        """The public part, or None for a secret or an unknown id."""
        ...
