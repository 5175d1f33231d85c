"""Registrations of customers' apps and the credentials made for them.

certificate:    issued -> delivered -> registered -> active
                   |          |            |-> failed (a workload refused it until the deadline)
                   |          `-> failed (the public part could not be registered)
client_secret:  delivered          (the customer's bootstrap secret; never becomes active)
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Kind(StrEnum):
    """What the app registration authenticates with."""

    CERTIFICATE = "certificate"
    CLIENT_SECRET = "client_secret"  # noqa: S105 - the name of a kind


class State(StrEnum):
    """How far a credential has come; see the diagram of the module."""

    ISSUED = "issued"
    DELIVERED = "delivered"
    REGISTERED = "registered"
    ACTIVE = "active"
    FAILED = "failed"


class Workload(StrEnum):
    """Where a canary log-in must succeed before a certificate is used."""

    GRAPH = "graph"
    EXCHANGE = "exchange"
    TEAMS = "teams"


@dataclass(frozen=True, slots=True)
class Registration:
    """One app registration of one tenant, and how its certificates are to be made."""

    tenant_id: str
    customer: str
    organization: str
    client_id: str
    application_object_id: str
    cloud: str
    key_bits: int
    validity_days: int
    has_bootstrap_secret: bool


@dataclass(frozen=True, slots=True)
class Request:
    """The newest command sent for one purpose of a credential; ``outcome`` is None until its reply came."""

    purpose: str
    attempt: int
    sent_at: datetime
    outcome: str | None = None
    code: str | None = None
    message: str | None = None
    retryable: bool = False
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential without its secret part, and the newest request of each purpose."""

    credential_id: UUID
    tenant_id: str
    client_id: str
    kind: Kind
    state: State
    thumbprint: str | None
    not_before: datetime
    not_after: datetime
    created_at: datetime
    requests: dict[str, Request] = field(default_factory=dict)


def bootstrap_context(tenant_id: str) -> str:
    """What the seal around a customer's first secret is bound to."""
    return f"bootstrap:{tenant_id}"


def credential_context(credential_id: UUID) -> str:
    """What every seal around a credential's secret part is bound to."""
    return f"credential:{credential_id}"
