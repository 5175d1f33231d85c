"""The tables of messaging, as SQL that a service's first migration executes. Source: README.md, section Tables.

Owns names, keys and indexes. Refuses foreign keys to business tables: a message outlives what it is about.
"""

SHARD_COUNT = 16
"""Shards of the outbox; a key always falls in the same one. Changing it needs an empty outbox."""

_OUTBOX = """
CREATE TABLE outbox (
    shard smallint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    key bytea,
    headers json NOT NULL,
    value bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, id)
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
)
"""

_OUTBOX_RELAY = """
CREATE TABLE outbox_relay (
    relay text PRIMARY KEY,
    expires_at timestamptz NOT NULL
)
"""

_OUTBOX_LEASE = """
CREATE TABLE outbox_lease (
    shard smallint PRIMARY KEY,
    relay text,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50)
"""

_OUTBOX_LEASE_ROWS = f"INSERT INTO outbox_lease (shard) SELECT generate_series(0, {SHARD_COUNT - 1})"

_INBOX = """
CREATE TABLE inbox (
    consumer text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, source, id)
)
"""

_INBOX_AGE = "CREATE INDEX inbox_received_at ON inbox USING brin (received_at)"

_PARKED = """
CREATE TABLE parked_message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea,
    headers json NOT NULL,
    value bytea,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    reason_code text,
    reason text,
    fingerprint text,
    dead_letter_id uuid,
    parked_at timestamptz NOT NULL
)
"""

_PARKED_DUE = "CREATE INDEX parked_message_due ON parked_message (consumer, due_at)"
_PARKED_KEY = "CREATE INDEX parked_message_key ON parked_message (consumer, topic, key, id)"

_DEAD_LETTER = """
CREATE TABLE dead_letter (
    id uuid PRIMARY KEY,
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea,
    headers json NOT NULL,
    value bytea,
    source text,
    event_id text,
    type text,
    tenant text,
    reason_code text NOT NULL,
    reason text NOT NULL,
    fingerprint text NOT NULL,
    attempts integer NOT NULL,
    occurrences integer NOT NULL DEFAULT 1,
    digest bytea NOT NULL,
    admitted boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'replaying', 'resolved', 'discarded')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    actor text,
    note text
)
"""

_DEAD_LETTER_STATE = "CREATE INDEX dead_letter_state ON dead_letter (state, id)"
_DEAD_LETTER_DIGEST = "CREATE INDEX dead_letter_digest ON dead_letter (consumer, topic, digest) WHERE state = 'open'"

MESSAGING_SCHEMA_V1: tuple[str, ...] = (
    _OUTBOX,
    _OUTBOX_RELAY,
    _OUTBOX_LEASE,
    _OUTBOX_LEASE_ROWS,
    _INBOX,
    _INBOX_AGE,
    _PARKED,
    _PARKED_DUE,
    _PARKED_KEY,
    _DEAD_LETTER,
    _DEAD_LETTER_STATE,
    _DEAD_LETTER_DIGEST,
)
"""One statement each, in order; execute them in one transaction."""

MESSAGING_TABLES: tuple[str, ...] = ("outbox", "outbox_relay", "outbox_lease", "inbox", "parked_message", "dead_letter")
