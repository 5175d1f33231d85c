"""Queue of operations, sessions, execution log, credentials, settings and error rules; the tables of messaging.

Revision ID: 0001
"""

from alembic import op

from mesh_messaging.schema import MESSAGING_SCHEMA_V1

revision = "0001"
down_revision = None

_TABLES = (
    # One row is inbox, queue and memory of the reply. `seq` keeps the order of delivery, `intent` what a write was
    # about to replace, `written` what it set.
    """
    CREATE TABLE operation (
        operation_id uuid PRIMARY KEY,
        seq bigint GENERATED ALWAYS AS IDENTITY,
        operation text NOT NULL,
        version integer NOT NULL,
        module text,
        tenant_id text NOT NULL,
        target text NOT NULL,
        credential text NOT NULL,
        lane smallint NOT NULL,
        params jsonb NOT NULL,
        deadline timestamptz NOT NULL,
        reply_to text NOT NULL,
        plan_id uuid,
        traceparent text,
        state text NOT NULL CHECK (state IN ('queued', 'leased', 'done')),
        not_before timestamptz NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        lease_owner uuid,
        lease_until timestamptz,
        intent jsonb,
        written jsonb,
        problem jsonb,
        outcome text,
        reply jsonb,
        received_at timestamptz NOT NULL,
        started_at timestamptz,
        finished_at timestamptz
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX operation_queue ON operation (lane, tenant_id, module, credential, seq) WHERE state = 'queued'",
    """
    CREATE INDEX operation_target ON operation (tenant_id, module, credential, target, seq)
    WHERE state IN ('queued', 'leased')
    """,
    "CREATE INDEX operation_lease ON operation (lease_until) WHERE state = 'leased'",
    "CREATE INDEX operation_written ON operation (tenant_id, module, target, finished_at) WHERE written IS NOT NULL",
    "CREATE INDEX operation_finished ON operation (finished_at) WHERE state = 'done'",
    """
    CREATE TABLE gateway_instance (
        instance uuid PRIMARY KEY,
        host text NOT NULL,
        seen_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE session (
        session_id uuid PRIMARY KEY,
        instance uuid NOT NULL,
        tenant_id text NOT NULL,
        customer text NOT NULL,
        module text NOT NULL,
        credential_id uuid NOT NULL,
        canary boolean NOT NULL,
        state text NOT NULL,
        pid integer,
        module_version text,
        reason text,
        error text,
        executions integer NOT NULL,
        memory_bytes bigint NOT NULL,
        operation_id uuid,
        started_at timestamptz NOT NULL,
        connected_at timestamptz,
        last_used_at timestamptz,
        ended_at timestamptz,
        terminate_by text
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX session_tenant ON session (tenant_id, session_id)",
    "CREATE INDEX session_living ON session (instance) WHERE state <> 'dead'",
    "CREATE INDEX session_ended ON session (ended_at) WHERE state = 'dead'",
    """
    CREATE TABLE execution (
        execution_id uuid PRIMARY KEY,
        session_id uuid NOT NULL,
        operation_id uuid NOT NULL,
        tenant_id text NOT NULL,
        cmdlet text NOT NULL,
        params jsonb NOT NULL,
        outcome text NOT NULL,
        error jsonb,
        warnings jsonb NOT NULL,
        attempt integer NOT NULL,
        started_at timestamptz NOT NULL,
        duration_ms integer NOT NULL,
        trace_id text
    )
    """,
    "CREATE INDEX execution_session ON execution (session_id, execution_id)",
    "CREATE INDEX execution_operation ON execution (operation_id, execution_id)",
    "CREATE INDEX execution_started ON execution USING brin (started_at)",
    """
    CREATE TABLE credential (
        credential_id uuid PRIMARY KEY,
        tenant_id text NOT NULL,
        customer text NOT NULL,
        client_id text NOT NULL,
        organization text NOT NULL,
        cloud text NOT NULL,
        thumbprint text,
        not_before timestamptz NOT NULL,
        not_after timestamptz NOT NULL,
        sealed bytea NOT NULL,
        state text NOT NULL CHECK (state IN ('delivered', 'active', 'superseded')),
        delivered_at timestamptz NOT NULL,
        activated_at timestamptz
    )
    """,
    "CREATE UNIQUE INDEX credential_active ON credential (tenant_id) WHERE state = 'active'",
    "CREATE INDEX credential_tenant ON credential (tenant_id, delivered_at)",
    """
    CREATE TABLE config_change (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        changes jsonb NOT NULL,
        config jsonb NOT NULL
    )
    """,
    """
    CREATE TABLE error_rules (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        shipped_digest text,
        rules jsonb NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in (*MESSAGING_SCHEMA_V1, *_TABLES):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the first revision has nothing to go back to")
