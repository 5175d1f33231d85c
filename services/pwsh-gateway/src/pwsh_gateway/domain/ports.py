"""What the use cases need from the world, in the words of the domain.

Owns the seams: queue, log, credentials, settings, sessions. Refuses implementations and frameworks: a transaction
is opaque here, it belongs to whoever opened it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pwsh_gateway.domain.config import GatewayConfig
from pwsh_gateway.domain.error_rules import RuleSet
from pwsh_gateway.domain.journal import JournalPage
from pwsh_gateway.domain.operations import Command, Intent, Module, Operation, Problem, Reply, Stream
from pwsh_gateway.domain.protocol import Answer, CmdletError, Invocation
from pwsh_gateway.domain.sessions import Credential, CredentialFacts, Execution, SessionEvent, SessionRecord
from pwsh_gateway.domain.visits import Leased, Visit

Transaction = Any
Transactions = Callable[[], AbstractAsyncContextManager[Transaction]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command for the queue; `module` is unset and `reply` is given when it is answered at once."""

    command: Command
    module: Module | None
    params: Mapping[str, Any]
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """An operation with its reply. `written` are the fields it is known to have set."""

    operation: Operation
    reply: Reply
    written: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Requeued:
    """An operation that goes back to the queue. `attempted` is False when it was not even begun."""

    operation: Operation
    not_before: datetime
    problem: Problem | None
    keep_intent: bool
    attempted: bool


class OperationQueue(Protocol):
    """The durable queue, inbox of commands and memory of replies in one table."""

    async def add(self, tx: Transaction, accepted: Sequence[Accepted], now: datetime) -> list[Reply]:
        """Takes new operations in, in order; answers the stored replies of those that were known and are done."""

    async def lease(
        self,
        tx: Transaction,
        *,
        owner: uuid.UUID,
        until: datetime,
        now: datetime,
        limit: int,
        closed: Sequence[Stream],
        after: Stream | None,
        operations_max: int,
        since: datetime,
    ) -> list[Leased]:
        """Leases the due operations of at most one target of each of up to `limit` streams, urgent lanes first.

        With each comes what was written to its target since `since`: Microsoft's reads may not show it yet.
        """

    async def renew(
        self, tx: Transaction, *, owner: uuid.UUID, ids: Collection[uuid.UUID], until: datetime
    ) -> set[uuid.UUID]:
        """Keeps leases of `owner`; answers those of the operations it still holds."""

    async def reclaim(self, tx: Transaction, now: datetime) -> int:
        """Puts operations whose lease ran out back to the queue."""

    async def record_intents(
        self, tx: Transaction, owner: uuid.UUID, intents: Mapping[uuid.UUID, Intent]
    ) -> set[uuid.UUID]:
        """Writes down what is about to be replaced; answers the operations that `owner` still holds."""

    async def hold(self, tx: Transaction, owner: uuid.UUID, ids: Collection[uuid.UUID]) -> None:
        """Locks those that `owner` still holds, in one order for everybody, before several writes to them."""

    async def finish(self, tx: Transaction, owner: uuid.UUID, finished: Sequence[Finished]) -> set[uuid.UUID]:
        """Stores replies; answers the operations that `owner` still held (the others are somebody else's now)."""

    async def give_back(self, tx: Transaction, owner: uuid.UUID, returned: Sequence[Requeued]) -> None:
        """Puts leased operations back."""

    async def hasten(self, tx: Transaction, tenant_id: str, now: datetime) -> None:
        """Makes the waiting operations of a tenant due."""

    async def forget(self, tx: Transaction, finished_before: datetime, limit: int) -> int:
        """Deletes old finished operations."""


class ExecutionLog(Protocol):
    """The execution log."""

    async def add(self, tx: Transaction, executions: Sequence[Execution]) -> None: ...

    async def page(
        self, tx: Transaction, *, session_id: uuid.UUID | None, operation_id: uuid.UUID | None,
        after: uuid.UUID | None, limit: int,
    ) -> list[Execution]:  # fmt: skip
        """Newest first."""

    async def get(self, tx: Transaction, execution_id: uuid.UUID) -> Execution | None: ...

    async def forget(self, tx: Transaction, started_before: datetime, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session row with where it runs and who asked for its end."""

    record: SessionRecord
    instance: uuid.UUID
    terminate_by: str | None


class SessionStore(Protocol):
    """Session rows of all replicas."""

    async def save(self, tx: Transaction, instance: uuid.UUID, records: Sequence[SessionRecord]) -> None: ...

    async def page(
        self, tx: Transaction, *, tenant_id: str | None, module: str | None, state: str | None,
        after: uuid.UUID | None, limit: int,
    ) -> list[StoredSession]:  # fmt: skip
        """Newest first. `state` None means all that live, "all" every one."""

    async def get(self, tx: Transaction, session_id: uuid.UUID) -> StoredSession | None: ...

    async def ask_to_terminate(self, tx: Transaction, session_id: uuid.UUID, actor: str) -> bool:
        """False when there is no such living session."""

    async def asked_to_terminate(self, tx: Transaction, instance: uuid.UUID) -> list[tuple[uuid.UUID, str]]: ...

    async def seen(self, tx: Transaction, instance: uuid.UUID, host: str, now: datetime) -> None:
        """The replica is alive."""

    async def bury(self, tx: Transaction, *, unseen_since: datetime, now: datetime) -> list[SessionRecord]:
        """Ends the sessions of replicas that were not seen any more."""

    async def forget(self, tx: Transaction, ended_before: datetime, limit: int) -> int: ...


class CredentialStore(Protocol):
    """Delivered credentials, sealed at rest."""

    async def add(self, tx: Transaction, credential: Credential, now: datetime) -> None: ...

    async def activate(self, tx: Transaction, tenant_id: str, credential_id: uuid.UUID, now: datetime) -> bool:
        """False when that credential was never delivered here."""

    async def drop(self, tx: Transaction, tenant_id: str, credential_id: uuid.UUID) -> None:
        """Forgets a credential that does not work, unless it is the active one."""

    async def open(self, tx: Transaction, credential_id: uuid.UUID) -> Credential | None: ...

    async def active(self, tx: Transaction, tenant_ids: Sequence[str]) -> dict[str, uuid.UUID]: ...

    async def facts(self, tx: Transaction, tenant_id: str) -> list[tuple[CredentialFacts, str]]:
        """The tenant's credentials with their state, newest first; no secrets."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a history."""

    number: int
    at: datetime
    actor: str
    content: Mapping[str, Any]


class SettingsStore(Protocol):
    """Settings and error rules, each with its history."""

    async def lock(self, tx: Transaction) -> None:
        """Serialises changes until the end of the transaction."""

    async def config(self, tx: Transaction) -> GatewayConfig: ...

    async def set_config(
        self, tx: Transaction, config: GatewayConfig, changes: Mapping[str, Any], actor: str, now: datetime
    ) -> None: ...

    async def config_history(self, tx: Transaction, before: int | None, limit: int) -> list[Change]: ...

    async def rules(self, tx: Transaction) -> RuleSet: ...

    async def set_rules(self, tx: Transaction, rules: RuleSet, actor: str, now: datetime) -> None: ...

    async def seed_rules(self, tx: Transaction, rules: RuleSet, digest: str, now: datetime) -> None:
        """Takes the shipped rules over unless somebody edited the table."""


class Announcer(Protocol):
    """What the service says to the others, through the outbox."""

    async def replies(self, tx: Transaction, replies: Sequence[Reply]) -> None: ...

    async def sessions(self, tx: Transaction, events: Sequence[SessionEvent]) -> None: ...


class Bell(Protocol):
    """Wakes the workers of all replicas when the transaction commits."""

    async def work(self, tx: Transaction) -> None: ...

    async def control(self, tx: Transaction) -> None:
        """Settings, rules, credentials or requests to terminate have changed."""


class NoSession(Exception):  # noqa: N818
    """No session came about. `error` is the record of the refused log-in; unset when the gateway itself is ending."""

    def __init__(self, reason: str, error: CmdletError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class HeldSession(Protocol):
    """A reserved session."""

    @property
    def session_id(self) -> uuid.UUID: ...

    def serve(self, operation_id: uuid.UUID) -> None:
        """From now on it works for this operation."""

    async def invoke(self, invocation: Invocation, timeout_seconds: float) -> Answer: ...

    def drain(self, reason: str) -> None:
        """It ends after this visit."""

    def terminate(self, reason: str) -> None:
        """It ends now."""


class SessionPool(Protocol):
    """Live sessions of this replica."""

    async def acquire(self, visit: Visit) -> HeldSession:
        """A session reserved for the visit. Raises NoSession."""

    def release(self, session: HeldSession) -> None: ...

    def tenants(self) -> list[str]:
        """Tenants with a living session."""

    def drain_superseded(self, active: Mapping[str, uuid.UUID]) -> None:
        """Ends sessions whose credential is not the tenant's active one any more, after what they do now."""

    def terminate(self, session_id: uuid.UUID, reason: str) -> None:
        """Ends one session now; a no-op when it is not here."""

    def take_journal(self) -> JournalPage: ...

    def put_back(self, page: JournalPage) -> None:
        """The page could not be written."""
