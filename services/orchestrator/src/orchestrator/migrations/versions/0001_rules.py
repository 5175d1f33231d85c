"""Messaging tables, customers and their configuration, tenants, people, and the two ledgers.

Owns: customer, configuration, tenant, tenant_group, tenant_ledger, seat_pool, seat_hold, number, upn_reservation,
person, hr_event. Plans and operations follow in the next revision.
"""

from alembic import op

from mesh_messaging.schema import MESSAGING_SCHEMA_V1

revision = "0001_rules"
down_revision = None
branch_labels = None
depends_on = None

CUSTOMERS = (
    """
    CREATE TABLE customer (
        customer text PRIMARY KEY,
        name text NOT NULL,
        version bigint NOT NULL,
        applied_at timestamptz NOT NULL,
        applied_by text NOT NULL
    )
    """,
    # Append-only: the newest version of a row is the current one, `removed` ends it; older ones are the history.
    """
    CREATE TABLE configuration (
        customer text NOT NULL REFERENCES customer,
        kind text NOT NULL,
        name text NOT NULL,
        version bigint NOT NULL,
        position integer NOT NULL,
        document jsonb NOT NULL,
        removed boolean NOT NULL,
        applied_at timestamptz NOT NULL,
        applied_by text NOT NULL,
        PRIMARY KEY (customer, kind, name, version)
    )
    """,
)

TENANTS = (
    """
    CREATE TABLE tenant (
        tenant_id text PRIMARY KEY,
        customer text NOT NULL REFERENCES customer,
        name text NOT NULL,
        organization text NOT NULL,
        domain text NOT NULL,
        cloud text NOT NULL,
        client_id text NOT NULL,
        application_object_id text NOT NULL,
        state text NOT NULL CHECK (state IN ('registering', 'ready', 'failed')),
        state_at timestamptz NOT NULL,
        reason jsonb,
        credential_id text,
        credential_not_after timestamptz,
        capabilities jsonb,
        observed_at timestamptz,
        observe_due_at timestamptz,
        observation jsonb
    )
    """,
    "CREATE INDEX tenant_observe_due ON tenant (observe_due_at) WHERE state = 'ready'",
    "CREATE INDEX tenant_customer ON tenant (customer)",
    """
    CREATE TABLE tenant_group (
        tenant_id text NOT NULL,
        group_id text NOT NULL,
        display_name text NOT NULL,
        PRIMARY KEY (tenant_id, group_id)
    )
    """,
    "CREATE INDEX tenant_group_name ON tenant_group (tenant_id, lower(display_name))",
)

# One row a tenant, locked (in the order of tenant ids) by whoever reserves seats, numbers or names in it.
LEDGERS = (
    "CREATE TABLE tenant_ledger (tenant_id text PRIMARY KEY)",
    """
    CREATE TABLE seat_pool (
        tenant_id text NOT NULL,
        sku_id text NOT NULL,
        part_number text NOT NULL,
        capability_status text NOT NULL,
        enabled integer NOT NULL,
        warning integer NOT NULL,
        consumed integer NOT NULL,
        plans jsonb NOT NULL,
        observed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, sku_id)
    )
    """,
    """
    CREATE TABLE seat_hold (
        tenant_id text NOT NULL,
        sku_id text NOT NULL,
        person_id uuid NOT NULL,
        plan_id uuid NOT NULL,
        state text NOT NULL CHECK (state IN ('held', 'consumed')),
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, sku_id, person_id)
    )
    """,
    "CREATE INDEX seat_hold_plan ON seat_hold (plan_id)",
    "CREATE INDEX seat_hold_person ON seat_hold (person_id)",
    """
    CREATE TABLE number (
        customer text NOT NULL,
        number text COLLATE "C" NOT NULL,
        site text NOT NULL,
        type text NOT NULL,
        location_id text,
        status text NOT NULL
            CHECK (status IN ('available', 'reserved', 'staged', 'used', 'used-utility', 'cooling')),
        listed boolean NOT NULL,
        person_id uuid,
        plan_id uuid,
        note text,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (customer, number)
    )
    """,
    "CREATE INDEX number_free ON number (customer, site, length(number), number) WHERE status = 'available' AND listed",
    "CREATE INDEX number_plan ON number (plan_id) WHERE plan_id IS NOT NULL",
    "CREATE INDEX number_person ON number (person_id) WHERE person_id IS NOT NULL",
    # `base` is the plain name, `ordinal` says which of its alternatives this one is; no person: seen in the tenant.
    """
    CREATE TABLE upn_reservation (
        tenant_id text NOT NULL,
        upn text NOT NULL,
        base text NOT NULL,
        ordinal integer NOT NULL,
        person_id uuid,
        plan_id uuid,
        state text NOT NULL CHECK (state IN ('reserved', 'used', 'observed')),
        PRIMARY KEY (tenant_id, upn)
    )
    """,
    "CREATE INDEX upn_reservation_base ON upn_reservation (tenant_id, base)",
    "CREATE INDEX upn_reservation_person ON upn_reservation (person_id) WHERE person_id IS NOT NULL",
    "CREATE INDEX upn_reservation_plan ON upn_reservation (plan_id) WHERE plan_id IS NOT NULL",
)

PEOPLE = (
    """
    CREATE TABLE person (
        person_id uuid PRIMARY KEY,
        customer text NOT NULL,
        employee_id text NOT NULL,
        sequence bigint NOT NULL,
        effective_date date,
        facts jsonb NOT NULL,
        traceparent text,
        status text NOT NULL,
        refusal jsonb,
        site text,
        profile text,
        tenant_id text,
        plan_id uuid,
        plan_stage text CHECK (plan_stage IN ('observing', 'planned')),
        replan boolean NOT NULL DEFAULT false,
        upn text,
        user_id text,
        desired jsonb,
        provisioned jsonb,
        observed jsonb,
        observed_at timestamptz,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        UNIQUE (customer, employee_id)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX person_waiting ON person (tenant_id, person_id) WHERE status = 'waiting'",
    """
    CREATE TABLE hr_event (
        source text NOT NULL,
        event_id text NOT NULL,
        customer text NOT NULL,
        employee_id text NOT NULL,
        sequence bigint NOT NULL,
        kind text NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('accepted', 'stale')),
        plan_id uuid,
        received_at timestamptz NOT NULL,
        PRIMARY KEY (source, event_id)
    )
    """,
    "CREATE INDEX hr_event_person ON hr_event (customer, employee_id, sequence)",
)

TABLES = (
    "hr_event", "person", "upn_reservation", "number", "seat_hold", "seat_pool", "tenant_ledger", "tenant_group",
    "tenant", "configuration", "customer", "dead_letter", "parked_message", "inbox", "outbox_lease", "outbox_relay",
    "outbox",
)  # fmt: skip


def upgrade() -> None:
    for statement in (*MESSAGING_SCHEMA_V1, *CUSTOMERS, *TENANTS, *LEDGERS, *PEOPLE):
        op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
