"""Registrations, credentials, the requests made for them, and the messaging tables."""

from alembic import op

from mesh_messaging.schema import MESSAGING_SCHEMA_V1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE registration (
        tenant_id text PRIMARY KEY,
        customer text NOT NULL,
        organization text NOT NULL,
        client_id text NOT NULL,
        application_object_id text NOT NULL,
        cloud text NOT NULL,
        key_bits integer NOT NULL,
        validity_days integer NOT NULL,
        bootstrap_sealed bytea,
        due_at timestamptz
    )
    """,
    "CREATE INDEX registration_due ON registration (due_at) WHERE due_at IS NOT NULL",
    """
    CREATE TABLE credential (
        credential_id uuid PRIMARY KEY,
        tenant_id text NOT NULL REFERENCES registration,
        client_id text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('certificate', 'client_secret')),
        state text NOT NULL CHECK (state IN ('issued', 'delivered', 'registered', 'active', 'failed')),
        thumbprint text,
        not_before timestamptz NOT NULL,
        not_after timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        sealed bytea NOT NULL,
        certificate_der bytea
    )
    """,
    "CREATE INDEX credential_tenant ON credential (tenant_id, created_at)",
    """
    CREATE TABLE request (
        operation_id uuid PRIMARY KEY,
        credential_id uuid NOT NULL REFERENCES credential,
        purpose text NOT NULL,
        attempt integer NOT NULL,
        sent_at timestamptz NOT NULL,
        outcome text,
        code text,
        message text,
        retryable boolean NOT NULL DEFAULT false,
        answered_at timestamptz,
        UNIQUE (credential_id, purpose, attempt)
    )
    """,
)


def upgrade() -> None:
    for statement in (*MESSAGING_SCHEMA_V1, *STATEMENTS):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("restore a backup: a certificate's private key is not thrown away by a migration")
