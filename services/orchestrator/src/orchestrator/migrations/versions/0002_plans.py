"""Plans, their operations and the learned lags of readiness gates."""

from alembic import op

revision = "0002_plans"
down_revision = "0001_rules"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE plan (
        plan_id uuid PRIMARY KEY,
        person_id uuid NOT NULL,
        customer text NOT NULL,
        tenant_id text NOT NULL,
        employee_id text NOT NULL,
        kind text NOT NULL,
        lane text NOT NULL CHECK (lane IN ('urgent', 'normal', 'bulk')),
        state text NOT NULL CHECK (state IN ('observing', 'scheduled', 'running', 'compensating', 'succeeded',
                                             'refused', 'compensated', 'held', 'cancelled')),
        round integer NOT NULL,
        goal text NOT NULL CHECK (goal IN ('provide', 'undo', 'cancel')),
        created_at timestamptz NOT NULL,
        not_before timestamptz,
        due_at timestamptz,
        finished_at timestamptz,
        traceparent text,
        cause json,
        reason json,
        effects json
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX plan_due ON plan (due_at) WHERE due_at IS NOT NULL",
    # Plan ids are made in the order of time (UUID version 7), so they are the key that lists page by.
    "CREATE INDEX plan_customer ON plan (customer, plan_id)",
    "CREATE INDEX plan_state ON plan (state, plan_id)",
    "CREATE INDEX plan_employee ON plan (employee_id, plan_id)",
    """
    CREATE TABLE operation (
        id uuid PRIMARY KEY,
        plan_id uuid NOT NULL REFERENCES plan ON DELETE CASCADE,
        round integer NOT NULL,
        position integer NOT NULL,
        key text NOT NULL,
        target text NOT NULL CHECK (target IN ('graph', 'pwsh', 'mesh')),
        failure text NOT NULL CHECK (failure IN ('compensate', 'hold', 'continue')),
        depends_on text[] NOT NULL,
        subject text NOT NULL,
        definition json NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'dispatched', 'waiting', 'succeeded', 'refused', 'failed',
                                             'skipped', 'compensating', 'compensated')),
        attempt integer NOT NULL,
        undo_from integer NOT NULL,
        nudges integer NOT NULL,
        operation_id uuid,
        in_flight boolean NOT NULL,
        changed boolean NOT NULL,
        due_at timestamptz,
        ready_at timestamptz,
        finished_at timestamptz,
        output json,
        undo json,
        error json,
        request_ids text[] NOT NULL,
        UNIQUE (plan_id, round, position)
    ) WITH (fillfactor = 60)
    """,
    # Only columns that never change: an index on a changing one would cost every transition a write to all indexes.
    "CREATE INDEX operation_mesh_subject ON operation (subject) WHERE target = 'mesh'",
    """
    CREATE TABLE gate_lag (
        tenant_id text NOT NULL,
        gate text NOT NULL,
        mean_seconds double precision NOT NULL,
        samples bigint NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, gate)
    ) WITH (fillfactor = 50)
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE gate_lag, operation, plan")
