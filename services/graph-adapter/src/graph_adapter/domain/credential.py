"""Credentials of app registrations, and the tokens they open.

Owns the shapes and the outcomes of a sign-in. Refuses to show secrets: they have no representation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from mesh_runtime.errors import MeshError


class CredentialKind(StrEnum):
    """A certificate is preferred; a client secret serves to bootstrap."""

    CERTIFICATE = "certificate"
    CLIENT_SECRET = "client_secret"  # noqa: S105 - the name of a kind


@dataclass(frozen=True, slots=True)
class Credential:
    """What is known about a credential without opening it. `thumbprint` is the SHA-1 of the certificate in upper-case
    hex.
    """

    credential_id: UUID
    tenant_id: str
    customer: str
    client_id: str
    application_object_id: str
    organization: str
    cloud: str
    kind: CredentialKind
    thumbprint: str | None
    not_before: datetime | None
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class CredentialSecret:
    """The secret part; exactly one of the two forms is set."""

    client_secret: str | None = field(default=None, repr=False)
    certificate_pem: str | None = field(default=None, repr=False)
    private_key_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token for Microsoft Graph. `roles` is None when the token cannot be read: then nothing is known about
    permissions.
    """

    value: str = field(repr=False)
    tenant_id: str
    credential_id: UUID
    graph_url: str
    roles: frozenset[str] | None
    expires_at: datetime


class CredentialRefused(MeshError):  # noqa: N818 - named after the outcome
    """Entra does not accept the credential. `retryable` while it may only not be known everywhere yet (a new key
    or app).
    """

    code = "credential"
    status = 409
    title = "Credential refused"


class TenantMismatch(MeshError):  # noqa: N818 - named after the outcome
    """The credential opens another tenant than the one it was delivered for. Nothing must be done with it."""

    code = "tenant-mismatch"
    status = 409
    title = "Tenant mismatch"
