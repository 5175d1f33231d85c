"""The things a tenant holds. Owns plain records with their per-face times; decides nothing.

Every time is seconds since the epoch on the world clock. A face shows an object once its own `…_at` has passed:

    write ──► directory (at once) ──► replicas (visible_at) ──► index (indexed_at)
                    └──► Exchange / Teams (Replica.pending, plan times)
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cryptography.x509 import Certificate


@dataclass(slots=True)
class Replica:
    """What another face (Exchange or Teams) knows of a user's attributes: applied changes and those still under way."""

    attributes: dict[str, Any] = field(default_factory=dict)
    pending: deque[tuple[float, dict[str, Any]]] = field(default_factory=deque)

    def change(self, attributes: dict[str, Any], arrives_at: float, now: float) -> None:
        if arrives_at <= now and not self.pending:
            self.attributes.update(attributes)
        else:
            self.pending.append((arrives_at, attributes))

    def read(self, now: float) -> dict[str, Any]:
        while self.pending and self.pending[0][0] <= now:
            self.attributes.update(self.pending.popleft()[1])
        return self.attributes


@dataclass(slots=True)
class Licence:
    sku_id: str
    disabled_plans: tuple[str, ...]
    assigned_at: float


@dataclass(slots=True)
class Mailbox:
    """Exists in the store from the licence on; Exchange shows it from `visible_at` and hides it from
    `disconnected_at`."""

    guid: str
    visible_at: float
    primary_smtp_address: str
    settings: dict[str, Any] = field(default_factory=dict)
    cas: dict[str, Any] = field(default_factory=dict)
    type_details: str = "UserMailbox"
    type_pending: tuple[float, str] | None = None
    disconnected_at: float | None = None


@dataclass(slots=True)
class Grant:
    """A direct policy assignment; `former` stays what reads show until `effective_at`."""

    name: str | None
    effective_at: float
    former: str | None = None


@dataclass(slots=True)
class TeamsUser:
    visible_at: float
    enterprise_voice: bool = False
    line_uri: str | None = None
    grants: dict[str, Grant] = field(default_factory=dict)
    on_prem_line_uri: str | None = None
    lost_phone: bool = False  # had Phone System once; number cmdlets then answer with a misleading text


@dataclass(slots=True)
class User:
    id: str
    sequence: int
    props: dict[str, Any]
    created_at: float
    visible_at: float
    referable_at: float
    indexed_at: float
    manager: str | None = None
    reports: dict[str, None] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)
    licences: dict[str, Licence] = field(default_factory=dict)
    plans: dict[str, float] = field(default_factory=dict)  # active service plan -> since
    plan_ready: dict[str, float] = field(default_factory=dict)  # active service plan -> seen by Exchange/Teams from
    deleted_at: float | None = None
    exchange: Replica = field(default_factory=Replica)
    teams_view: Replica = field(default_factory=Replica)
    index: Replica | None = None  # what lists still show while changes are under way; None: the same as `props`
    mailbox: Mailbox | None = None
    teams: TeamsUser | None = None

    @property
    def upn(self) -> str:
        return str(self.props["userPrincipalName"])


@dataclass(slots=True)
class Group:
    id: str
    sequence: int
    props: dict[str, Any]
    created_at: float
    visible_at: float
    referable_at: float
    indexed_at: float
    members: dict[str, None] = field(default_factory=dict)
    policies: dict[str, tuple[int, str]] = field(default_factory=dict)  # policy type -> (rank, name)


@dataclass(slots=True)
class Sku:
    sku_id: str
    part_number: str
    enabled: int
    warning: int
    plans: tuple[tuple[str, str], ...]  # (service plan id, name)
    capability_status: str = "Enabled"
    consumed: int = 0
    shown: deque[tuple[float, int]] = field(default_factory=deque)  # (visible from, consumed), oldest first

    @property
    def free(self) -> int:
        return self.enabled + self.warning - self.consumed


@dataclass(slots=True)
class KeyCredential:
    """A certificate on an app registration. Usable at the token service between `usable_at` and `gone_at`."""

    key_id: str
    certificate: Certificate
    der: bytes
    sha1: bytes
    sha256: bytes
    display_name: str | None
    custom_key_identifier: str
    start: float
    end: float
    usable_at: float
    gone_at: float | None = None


@dataclass(slots=True)
class Secret:
    key_id: str
    value_sha256: bytes
    display_name: str | None
    hint: str
    start: float
    end: float


@dataclass(slots=True)
class Application:
    object_id: str
    client_id: str
    service_principal_id: str
    display_name: str
    roles: frozenset[str]  # Graph application permissions with admin consent
    exchange_roles: frozenset[str]
    directory_roles: frozenset[str]  # by name; see facts/roles.json
    owners: frozenset[str]  # client ids of applications that own this one
    created_at: float
    enabled: bool = True
    keys: list[KeyCredential] = field(default_factory=list)
    retired_keys: list[KeyCredential] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)


@dataclass(slots=True)
class Number:
    """A telephone number Teams knows. `holder` is a user's object id, or a stranger's for one assigned outside the
    directory."""

    number: str
    number_type: str
    holder: str | None = None
    category: str | None = None
    location_id: str | None = None
    city: str | None = None
    country: str | None = None
    uploaded: bool = True  # False: a Direct Routing number that exists only while assigned
    blocked_until: float | None = None


@dataclass(slots=True)
class Policy:
    name: str
    grantable_at: float
