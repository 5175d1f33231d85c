"""The plan engine's statements. Each works on arrays: a batch of a thousand replies costs as many round trips as one.

Owns SQL text only. `plan_rows` gives it parameters. Operations are found by plan and updated by primary key; no index
holds a column that a transition changes, so PostgreSQL updates operation rows in place (HOT).
"""

from sqlalchemy import text

# In the order of PlanStatus's fields. JSON is read as text: the engine parses what it looks at.
PLAN_COLUMNS = """plan_id, person_id, customer, tenant_id, employee_id, kind, lane, state, created_at, round, goal,
       not_before, due_at, finished_at, traceparent, cause::text, reason::text, effects::text"""

# In the order of OperationStatus's fields.
OPERATION_COLUMNS = """id, plan_id, round, position, key, target, failure, depends_on, definition::text, state, attempt,
       undo_from, nudges, operation_id, in_flight, changed, due_at, ready_at, finished_at, output::text, undo::text,
       error::text, request_ids"""

# LATERAL keeps the planner from reading the whole table for a large batch, with whatever statistics it has; plans are
# locked in the order they are given in.
LOCK_PLANS = text(f"""
SELECT p.*
FROM unnest(CAST(:plan_ids AS uuid[])) AS wanted (plan_id),
LATERAL (SELECT {PLAN_COLUMNS} FROM plan WHERE plan.plan_id = wanted.plan_id FOR UPDATE) AS p
""")

CLAIM_DUE = text(f"""
SELECT {PLAN_COLUMNS}
FROM plan WHERE due_at <= :now
ORDER BY due_at
LIMIT :count_max
FOR UPDATE SKIP LOCKED
""")

# The version of a row is the transaction that wrote it as it is (recent_plans.py). Read it only under the plan's lock,
# in a statement after the one that locks: that one still sees what was there before it waited.
OPERATION_VERSIONS = text("""
SELECT wanted.plan_id,
       ARRAY(SELECT xmin FROM operation WHERE operation.plan_id = wanted.plan_id ORDER BY round, position) AS versions
FROM unnest(CAST(:plan_ids AS uuid[])) AS wanted (plan_id)
""")

LOAD_OPERATIONS = text(f"""
SELECT o.*
FROM unnest(CAST(:plan_ids AS uuid[])) AS wanted (plan_id),
LATERAL (SELECT xmin, {OPERATION_COLUMNS} FROM operation WHERE operation.plan_id = wanted.plan_id
         ORDER BY round, position OFFSET 0) AS o
""")

INSERT_PLANS = text("""
INSERT INTO plan (plan_id, person_id, customer, tenant_id, employee_id, kind, lane, state, created_at, round, goal,
                  not_before, due_at, finished_at, traceparent, cause, reason, effects)
SELECT p.plan_id, p.person_id, p.customer, p.tenant_id, p.employee_id, p.kind, p.lane, p.state, p.created_at, p.round,
       p.goal, p.not_before, p.due_at, p.finished_at, p.traceparent, p.cause::json, p.reason::json, p.effects::json
FROM unnest(
    CAST(:plan_id AS uuid[]), CAST(:person_id AS uuid[]), CAST(:customer AS text[]), CAST(:tenant_id AS text[]),
    CAST(:employee_id AS text[]), CAST(:kind AS text[]), CAST(:lane AS text[]), CAST(:state AS text[]),
    CAST(:created_at AS timestamptz[]), CAST(:round AS integer[]), CAST(:goal AS text[]),
    CAST(:not_before AS timestamptz[]), CAST(:due_at AS timestamptz[]), CAST(:finished_at AS timestamptz[]),
    CAST(:traceparent AS text[]), CAST(:cause AS text[]), CAST(:reason AS text[]), CAST(:effects AS text[])
) AS p (plan_id, person_id, customer, tenant_id, employee_id, kind, lane, state, created_at, round, goal, not_before,
        due_at, finished_at, traceparent, cause, reason, effects)
""")

UPDATE_PLANS = text("""
UPDATE plan SET
    tenant_id = p.tenant_id, state = p.state, round = p.round, goal = p.goal, not_before = p.not_before,
    due_at = p.due_at, finished_at = p.finished_at, cause = p.cause::json, reason = p.reason::json,
    effects = p.effects::json
FROM unnest(
    CAST(:plan_id AS uuid[]), CAST(:tenant_id AS text[]), CAST(:state AS text[]), CAST(:round AS integer[]),
    CAST(:goal AS text[]), CAST(:not_before AS timestamptz[]), CAST(:due_at AS timestamptz[]),
    CAST(:finished_at AS timestamptz[]), CAST(:cause AS text[]), CAST(:reason AS text[]), CAST(:effects AS text[])
) AS p (plan_id, tenant_id, state, round, goal, not_before, due_at, finished_at, cause, reason, effects)
WHERE plan.plan_id = p.plan_id
""")

INSERT_OPERATIONS = text("""
INSERT INTO operation (id, plan_id, round, position, key, target, failure, depends_on, subject, definition, state,
                       attempt, undo_from, nudges, operation_id, in_flight, changed, due_at, ready_at, finished_at,
                       output, undo, error, request_ids)
SELECT o.id, o.plan_id, o.round, o.position, o.key, o.target, o.failure, string_to_array(o.depends_on, E'\\n'),
       o.subject, o.definition::json, o.state, o.attempt, o.undo_from, o.nudges, o.operation_id, o.in_flight,
       o.changed, o.due_at, o.ready_at, o.finished_at, o.output::json, o.undo::json, o.error::json,
       string_to_array(o.request_ids, E'\\n')
FROM unnest(
    CAST(:id AS uuid[]), CAST(:plan_id AS uuid[]), CAST(:round AS integer[]), CAST(:position AS integer[]),
    CAST(:key AS text[]), CAST(:target AS text[]), CAST(:failure AS text[]), CAST(:depends_on AS text[]),
    CAST(:subject AS text[]), CAST(:definition AS text[]), CAST(:state AS text[]), CAST(:attempt AS integer[]),
    CAST(:undo_from AS integer[]), CAST(:nudges AS integer[]), CAST(:operation_id AS uuid[]),
    CAST(:in_flight AS boolean[]), CAST(:changed AS boolean[]), CAST(:due_at AS timestamptz[]),
    CAST(:ready_at AS timestamptz[]), CAST(:finished_at AS timestamptz[]), CAST(:output AS text[]),
    CAST(:undo AS text[]), CAST(:error AS text[]), CAST(:request_ids AS text[])
) AS o (id, plan_id, round, position, key, target, failure, depends_on, subject, definition, state, attempt, undo_from,
        nudges, operation_id, in_flight, changed, due_at, ready_at, finished_at, output, undo, error, request_ids)
""")

UPDATE_OPERATIONS = text("""
UPDATE operation SET
    state = o.state, attempt = o.attempt, undo_from = o.undo_from, nudges = o.nudges, operation_id = o.operation_id,
    in_flight = o.in_flight, changed = o.changed, due_at = o.due_at, ready_at = o.ready_at,
    finished_at = o.finished_at, output = o.output::json, undo = o.undo::json, error = o.error::json,
    request_ids = string_to_array(o.request_ids, E'\\n')
FROM unnest(
    CAST(:id AS uuid[]), CAST(:state AS text[]), CAST(:attempt AS integer[]), CAST(:undo_from AS integer[]),
    CAST(:nudges AS integer[]), CAST(:operation_id AS uuid[]), CAST(:in_flight AS boolean[]),
    CAST(:changed AS boolean[]), CAST(:due_at AS timestamptz[]), CAST(:ready_at AS timestamptz[]),
    CAST(:finished_at AS timestamptz[]), CAST(:output AS text[]), CAST(:undo AS text[]), CAST(:error AS text[]),
    CAST(:request_ids AS text[])
) AS o (id, state, attempt, undo_from, nudges, operation_id, in_flight, changed, due_at, ready_at, finished_at,
        output, undo, error, request_ids)
WHERE operation.id = o.id
""")

LAGS = text("""
SELECT tenant_id, gate, mean_seconds FROM gate_lag WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))
""")

# Sorted by the caller: two batches that learn about the same gates wait for each other instead of deadlocking.
LEARN = text("""
INSERT INTO gate_lag (tenant_id, gate, mean_seconds, samples, updated_at)
SELECT l.tenant_id, l.gate, l.seconds, 1, :now
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:gates AS text[]), CAST(:seconds AS double precision[]))
    AS l (tenant_id, gate, seconds)
ON CONFLICT (tenant_id, gate) DO UPDATE SET
    mean_seconds = gate_lag.mean_seconds + :weight * (excluded.mean_seconds - gate_lag.mean_seconds),
    samples = gate_lag.samples + 1,
    updated_at = excluded.updated_at
""")

WAKE = text("""
WITH sleeping AS (
    SELECT o.id, o.plan_id
    FROM operation o JOIN plan p USING (plan_id)
    WHERE o.target = 'mesh' AND o.subject = ANY (CAST(:subjects AS text[])) AND o.state = 'waiting'
    FOR UPDATE SKIP LOCKED
), woken AS (
    UPDATE operation SET due_at = :now FROM sleeping WHERE operation.id = sleeping.id
)
UPDATE plan SET due_at = :now WHERE plan_id IN (SELECT plan_id FROM sleeping) RETURNING plan_id
""")

NEXT_DUE = text("SELECT min(due_at) AS due_at FROM plan WHERE due_at IS NOT NULL")
POSTPONE = text("UPDATE plan SET due_at = :due_at WHERE plan_id = :plan_id AND due_at IS NOT NULL")
# Both give the version of the rows that this transaction writes.
ALARM = text("SELECT CAST(pg_current_xact_id() AS xid), pg_notify(:channel, :due_at)")
THIS_TRANSACTION = text("SELECT CAST(pg_current_xact_id() AS xid)")
