"""Transactions of cert-manager: every SQL statement of the service that writes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from cert_manager.domain.credential import Credential, Kind, Registration, Request, State
from cert_manager.domain.ports import Answer, Outgoing
from cert_manager.wire import Messages
from mesh_messaging import outbox
from mesh_runtime.db import Database

WAKE_CHANNEL = "cert_manager_due"


class DatabaseUnit:
    """Implements the Unit port on one open transaction."""

    def __init__(self, tx: AsyncConnection, messages: Messages) -> None:
        self._tx, self._messages = tx, messages

    async def save_registration(self, registration: Registration, secret: bytes | None) -> None:
        """Insert or replace, and make the tenant due."""
        await self._tx.execute(
            text(SAVE_REGISTRATION),
            {
                "tenant_id": registration.tenant_id,
                "customer": registration.customer,
                "organization": registration.organization,
                "client_id": registration.client_id,
                "object_id": registration.application_object_id,
                "cloud": registration.cloud,
                "key_bits": registration.key_bits,
                "validity_days": registration.validity_days,
                "secret": secret,
            },
        )
        await self._notify()

    async def lease(self, limit: int, lease_seconds: float) -> list[str]:
        """Due tenants, hidden from other replicas until the lease ends."""
        rows = await self._tx.execute(text(LEASE), {"limit": limit, "lease": lease_seconds})
        return [str(row.tenant_id) for row in rows]

    async def situation(self, tenant_id: str) -> tuple[Registration, list[Credential]] | None:
        """Locks the registration, so that two replicas decide one after the other."""
        rows = await self._tx.execute(text(REGISTRATION), {"tenant_id": tenant_id})
        row = rows.mappings().one_or_none()
        if row is None:
            return None
        requests = await self._requests(tenant_id)
        found = await self._tx.execute(text(CREDENTIALS), {"tenant_id": tenant_id})
        credentials = [_credential(c, requests.get(c["credential_id"], {})) for c in found.mappings()]
        return _registration(row), credentials

    async def _requests(self, tenant_id: str) -> dict[UUID, dict[str, Request]]:
        newest: dict[UUID, dict[str, Request]] = {}
        for row in (await self._tx.execute(text(REQUESTS), {"tenant_id": tenant_id})).mappings():
            newest.setdefault(row["credential_id"], {})[row["purpose"]] = Request(
                purpose=row["purpose"],
                attempt=row["attempt"],
                sent_at=row["sent_at"],
                outcome=row["outcome"],
                code=row["code"],
                message=row["message"],
                retryable=row["retryable"],
                answered_at=row["answered_at"],
            )
        return newest

    async def secret(self, credential_id: UUID) -> bytes:
        """The sealed secret part."""
        row = await self._tx.execute(
            text("SELECT sealed FROM credential WHERE credential_id = :id"), {"id": credential_id}
        )
        return bytes(row.scalar_one())

    async def bootstrap_secret(self, tenant_id: str) -> bytes | None:
        """The sealed first secret."""
        row = await self._tx.execute(
            text("SELECT bootstrap_sealed FROM registration WHERE tenant_id = :id"), {"id": tenant_id}
        )
        value = row.scalar_one_or_none()
        return bytes(value) if value is not None else None

    async def certificate_der(self, credential_id: UUID) -> bytes | None:
        """The public part."""
        row = await self._tx.execute(
            text("SELECT certificate_der FROM credential WHERE credential_id = :id"), {"id": credential_id}
        )
        value = row.scalar_one_or_none()
        return bytes(value) if value is not None else None

    async def add_credential(self, credential: Credential, *, sealed: bytes, certificate_der: bytes | None) -> None:
        """Insert."""
        await self._tx.execute(
            text(ADD_CREDENTIAL),
            {
                "id": credential.credential_id,
                "tenant_id": credential.tenant_id,
                "client_id": credential.client_id,
                "kind": credential.kind.value,
                "state": credential.state.value,
                "thumbprint": credential.thumbprint,
                "not_before": credential.not_before,
                "not_after": credential.not_after,
                "created_at": credential.created_at,
                "sealed": sealed,
                "der": certificate_der,
            },
        )

    async def set_state(self, credential_id: UUID, state: State) -> None:
        """Move on."""
        await self._tx.execute(
            text("UPDATE credential SET state = :state WHERE credential_id = :id"),
            {"state": state.value, "id": credential_id},
        )

    async def add_request(self, operation_id: UUID, credential: Credential, request: Request) -> None:
        """Insert; the operation id is what the reply will name."""
        await self._tx.execute(
            text(ADD_REQUEST),
            {
                "operation_id": operation_id,
                "credential_id": credential.credential_id,
                "purpose": request.purpose,
                "attempt": request.attempt,
                "sent_at": request.sent_at,
            },
        )

    async def answer(self, replies: Sequence[Answer]) -> None:
        """One statement for the batch; a tenant whose credential failed meanwhile is left alone."""
        await self._tx.execute(
            text(ANSWER),
            {
                "ids": [reply.operation_id for reply in replies],
                "outcomes": [reply.outcome for reply in replies],
                "codes": [reply.code for reply in replies],
                "messages": [reply.message for reply in replies],
                "retryables": [reply.retryable for reply in replies],
                "ats": [reply.at for reply in replies],
            },
        )
        await self._notify()

    async def wake(self, tenant_id: str, due_at: datetime | None) -> None:
        """Ends the lease."""
        await self._tx.execute(
            text("UPDATE registration SET due_at = :due WHERE tenant_id = :id"), {"due": due_at, "id": tenant_id}
        )

    async def publish(self, message: Outgoing) -> None:
        """Through the outbox, in this transaction."""
        await outbox.append(self._tx, [self._messages.outbound(message)])

    async def _notify(self) -> None:
        await self._tx.execute(text("SELECT pg_notify(:channel, '')"), {"channel": WAKE_CHANNEL})


class DatabaseUnits:
    """Implements the Units port."""

    def __init__(self, db: Database, messages: Messages) -> None:
        self._db, self._messages = db, messages

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[DatabaseUnit]:
        """One transaction."""
        async with self._db.transaction() as tx:
            yield DatabaseUnit(tx, self._messages)

    def on(self, tx: AsyncConnection) -> DatabaseUnit:
        """On the consumer's own transaction."""
        return DatabaseUnit(tx, self._messages)


def _registration(row: RowMapping) -> Registration:
    return Registration(
        tenant_id=row["tenant_id"],
        customer=row["customer"],
        organization=row["organization"],
        client_id=row["client_id"],
        application_object_id=row["application_object_id"],
        cloud=row["cloud"],
        key_bits=row["key_bits"],
        validity_days=row["validity_days"],
        has_bootstrap_secret=row["has_secret"],
    )


def _credential(row: RowMapping, requests: dict[str, Request]) -> Credential:
    return Credential(
        credential_id=row["credential_id"],
        tenant_id=row["tenant_id"],
        client_id=row["client_id"],
        kind=Kind(row["kind"]),
        state=State(row["state"]),
        thumbprint=row["thumbprint"],
        not_before=row["not_before"],
        not_after=row["not_after"],
        created_at=row["created_at"],
        requests=requests,
    )


SAVE_REGISTRATION = """
INSERT INTO registration AS r (tenant_id, customer, organization, client_id, application_object_id, cloud,
                               key_bits, validity_days, bootstrap_sealed, due_at)
VALUES (:tenant_id, :customer, :organization, :client_id, :object_id, :cloud,
        :key_bits, :validity_days, CAST(:secret AS bytea), now())
ON CONFLICT (tenant_id) DO UPDATE
SET customer = excluded.customer, organization = excluded.organization, client_id = excluded.client_id,
    application_object_id = excluded.application_object_id, cloud = excluded.cloud, key_bits = excluded.key_bits,
    validity_days = excluded.validity_days, due_at = now(),
    bootstrap_sealed = coalesce(excluded.bootstrap_sealed, r.bootstrap_sealed)
"""
LEASE = """
UPDATE registration SET due_at = now() + make_interval(secs => :lease)
WHERE tenant_id IN (
    SELECT tenant_id FROM registration WHERE due_at <= now() ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING tenant_id
"""
REGISTRATION = """
SELECT tenant_id, customer, organization, client_id, application_object_id, cloud, key_bits, validity_days,
       bootstrap_sealed IS NOT NULL AS has_secret
FROM registration WHERE tenant_id = :tenant_id FOR UPDATE
"""
CREDENTIALS = """
SELECT credential_id, tenant_id, client_id, kind, state, thumbprint, not_before, not_after, created_at
FROM credential WHERE tenant_id = :tenant_id ORDER BY created_at
"""
REQUESTS = """
SELECT DISTINCT ON (r.credential_id, r.purpose) r.credential_id, r.purpose, r.attempt, r.sent_at, r.outcome, r.code,
       r.message, r.retryable, r.answered_at
FROM request r JOIN credential c USING (credential_id)
WHERE c.tenant_id = :tenant_id
ORDER BY r.credential_id, r.purpose, r.attempt DESC
"""
ADD_CREDENTIAL = """
INSERT INTO credential (credential_id, tenant_id, client_id, kind, state, thumbprint, not_before, not_after,
                        created_at, sealed, certificate_der)
VALUES (:id, :tenant_id, :client_id, :kind, :state, :thumbprint, :not_before, :not_after, :created_at, :sealed, :der)
"""
ADD_REQUEST = """
INSERT INTO request (operation_id, credential_id, purpose, attempt, sent_at)
VALUES (:operation_id, :credential_id, :purpose, :attempt, :sent_at)
"""
ANSWER = """
WITH reply AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:outcomes AS text[]), CAST(:codes AS text[]),
                         CAST(:messages AS text[]), CAST(:retryables AS boolean[]), CAST(:ats AS timestamptz[]))
        AS t (operation_id, outcome, code, message, retryable, at)
), answered AS (
    UPDATE request r
    SET outcome = reply.outcome, code = reply.code, message = reply.message, retryable = reply.retryable,
        answered_at = reply.at
    FROM reply WHERE r.operation_id = reply.operation_id AND r.answered_at IS NULL
    RETURNING r.credential_id
)
UPDATE registration SET due_at = now()
WHERE tenant_id IN (
    SELECT tenant_id FROM credential JOIN answered USING (credential_id) WHERE state NOT IN ('active', 'failed')
)
"""
