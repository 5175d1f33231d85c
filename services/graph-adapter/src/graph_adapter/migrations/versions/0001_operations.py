"""Operations (queue, inbox of commands and ledger at once), tenants, credentials, created objects, and the messaging
tables.

Revision ID: 0001
"""

from alembic import op

from mesh_messaging.schema import MESSAGING_SCHEMA_V1, MESSAGING_TABLES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE operation (
        operation_id uuid PRIMARY KEY,
        seq bigint GENERATED ALWAYS AS IDENTITY,
        operation text NOT NULL,
        version integer NOT NULL,
        tenant_id text NOT NULL,
        target text NOT NULL,
        params json NOT NULL,
        deadline timestamptz NOT NULL,
        reply_to text NOT NULL,
        plan_id uuid,
        lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 2),
        credential text NOT NULL,
        traceparent text,
        received_at timestamptz NOT NULL,
        state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'leased', 'done')),
        not_before timestamptz NOT NULL,
        lease_id uuid,
        lease_until timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        interruptions integer NOT NULL DEFAULT 0,
        interrupted boolean NOT NULL DEFAULT false,
        started_at timestamptz,
        progress json,
        finished_at timestamptz,
        outcome text,
        error_code text,
        reply json
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000)
    """,
    # The queue of one tenant in the order it is served.
    "CREATE INDEX operation_queue ON operation (tenant_id, lane, seq) WHERE state = 'queued'",
    # Who is before me at my target?
    "CREATE INDEX operation_target ON operation (tenant_id, target, lane, seq) WHERE state <> 'done'",
    "CREATE INDEX operation_leased ON operation (tenant_id) WHERE state = 'leased'",
    "CREATE INDEX operation_listing ON operation (tenant_id, seq)",
    "CREATE INDEX operation_seq ON operation USING brin (seq)",
    "CREATE INDEX operation_finished ON operation USING brin (finished_at)",
    """
    CREATE TABLE tenant (
        tenant_id text PRIMARY KEY,
        active_credential_id uuid,
        activated_at timestamptz,
        not_before timestamptz,
        pause_reason text,
        roles text[],
        roles_seen_at timestamptz
    )
    """,
    """
    CREATE TABLE credential (
        credential_id uuid PRIMARY KEY,
        tenant_id text NOT NULL,
        customer text NOT NULL,
        client_id text NOT NULL,
        application_object_id text NOT NULL,
        organization text NOT NULL,
        cloud text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('certificate', 'client_secret')),
        thumbprint text,
        not_before timestamptz,
        not_after timestamptz,
        sealed bytea NOT NULL,
        delivered_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX credential_tenant ON credential (tenant_id)",
    """
    CREATE TABLE created_object (
        tenant_id text NOT NULL,
        object_id text NOT NULL,
        operation_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, object_id)
    )
    """,
    "CREATE INDEX created_object_age ON created_object USING brin (created_at)",
)


def upgrade() -> None:
    for statement in (*MESSAGING_SCHEMA_V1, *_TABLES):
        op.execute(statement)


def downgrade() -> None:
    for table in ("created_object", "credential", "tenant", "operation", *reversed(MESSAGING_TABLES)):
        op.execute(f"DROP TABLE {table}")
