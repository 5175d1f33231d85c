"""The SQL of the operation queue. Every statement works on arrays: one round trip however many operations.

Owns the queue's guarantees: the operations of a target under one lease at a time, oldest first within a lane, urgent
lane first; nothing of a paused tenant; a lease is proof of ownership. Refuses loops over rows in Python.
"""

from __future__ import annotations

from sqlalchemy import text

CHANNEL = "ucmesh_graph_operation"

# Takes the same locks as CLAIM. What is found here may be a moment old; whether a target is free, ACCEPT looks itself.
ROOM = text("""
SELECT c.tenant_id,
       (SELECT count(DISTINCT o.target) FROM operation AS o WHERE o.tenant_id = c.tenant_id AND o.state = 'leased')
           AS target_count
FROM unnest(CAST(:tenant_ids AS text[])) AS c (tenant_id)
WHERE (SELECT t.not_before FROM tenant AS t WHERE t.tenant_id = c.tenant_id AND t.not_before > :now) IS NULL
  AND pg_try_advisory_xact_lock(hashtextextended('graph-lease:' || c.tenant_id, 0))
""")

ACCEPT = text("""
WITH given AS MATERIALIZED (
    SELECT g.*, g.handed AND (
               SELECT true FROM operation AS e
               WHERE e.tenant_id = g.tenant_id AND e.target = g.target AND e.state <> 'done' LIMIT 1) IS NULL AS leased
    FROM unnest(
        CAST(:operation_ids AS uuid[]), CAST(:operations AS text[]), CAST(:versions AS integer[]),
        CAST(:tenant_ids AS text[]), CAST(:targets AS text[]), CAST(:params AS text[]),
        CAST(:deadlines AS timestamptz[]), CAST(:reply_tos AS text[]), CAST(:plan_ids AS uuid[]),
        CAST(:lanes AS smallint[]), CAST(:credentials AS text[]), CAST(:traceparents AS text[]),
        CAST(:handed AS boolean[])
    ) WITH ORDINALITY AS g (operation_id, operation, version, tenant_id, target, params, deadline, reply_to,
                            plan_id, lane, credential, traceparent, handed, place)
), added AS (
    INSERT INTO operation (operation_id, operation, version, tenant_id, target, params, deadline, reply_to, plan_id,
                           lane, credential, traceparent, received_at, not_before, state, lease_id, lease_until,
                           attempts, started_at)
    SELECT operation_id, operation, version, tenant_id, target, params::json, deadline, reply_to, plan_id,
           lane, credential, traceparent, :now, :now, CASE WHEN leased THEN 'leased' ELSE 'queued' END,
           CASE WHEN leased THEN CAST(:lease_id AS uuid) END, CASE WHEN leased THEN CAST(:until AS timestamptz) END,
           CASE WHEN leased THEN 1 ELSE 0 END, CASE WHEN leased THEN CAST(:now AS timestamptz) END
    FROM given ORDER BY place
    ON CONFLICT (operation_id) DO NOTHING
    RETURNING operation_id, state = 'leased' AS leased
), woken AS MATERIALIZED (
    SELECT pg_notify(:channel, '') WHERE EXISTS (SELECT FROM added WHERE NOT leased)
)
SELECT added.operation_id, added.leased FROM added LEFT JOIN woken ON true
""")

STORED = text("""
SELECT operation_id, plan_id, tenant_id, traceparent, reply::text AS reply FROM operation
WHERE operation_id = ANY (CAST(:operation_ids AS uuid[])) AND state = 'done'
""")

# A loose index scan: one step a tenant, however long its queue is.
WAITING = text("""
WITH RECURSIVE waiting (tenant_id, lane, received_at) AS (
    (SELECT tenant_id, lane, received_at FROM operation
     WHERE state = 'queued' AND not_before <= :now ORDER BY tenant_id, lane, seq LIMIT 1)
    UNION ALL
    SELECT following.tenant_id, following.lane, following.received_at FROM waiting CROSS JOIN LATERAL (
        SELECT tenant_id, lane, received_at FROM operation
        WHERE state = 'queued' AND not_before <= :now AND tenant_id > waiting.tenant_id
        ORDER BY tenant_id, lane, seq LIMIT 1) AS following
)
SELECT w.tenant_id, w.lane, w.received_at
FROM (SELECT tenant_id, lane, received_at FROM waiting LIMIT :tenant_count_max) AS w
LEFT JOIN tenant AS t USING (tenant_id)
WHERE t.not_before IS NULL OR t.not_before <= :now
""")

# The first of every lane of every tenant; where a tenant was paused, it waits since the pause is over.
LONGEST_WAIT = text("""
WITH RECURSIVE head (tenant_id, lane, since) AS (
    (SELECT tenant_id, lane, greatest(received_at, not_before) FROM operation
     WHERE state = 'queued' AND not_before <= :now ORDER BY tenant_id, lane, seq LIMIT 1)
    UNION ALL
    SELECT following.* FROM head CROSS JOIN LATERAL (
        SELECT tenant_id, lane, greatest(received_at, not_before) FROM operation
        WHERE state = 'queued' AND not_before <= :now AND (tenant_id, lane) > (head.tenant_id, head.lane)
        ORDER BY tenant_id, lane, seq LIMIT 1) AS following
)
SELECT coalesce(extract(epoch FROM CAST(:now AS timestamptz) - min(greatest(h.since, t.not_before))), 0)
FROM (SELECT * FROM head LIMIT :head_count_max) AS h LEFT JOIN tenant AS t USING (tenant_id)
WHERE t.not_before IS NULL OR t.not_before <= :now
""")

# Its own statement, so that the lease statement after it sees everything that earlier holders of the locks committed.
CLAIM = text("""
SELECT c.tenant_id,
       (SELECT count(DISTINCT o.target) FROM operation AS o WHERE o.tenant_id = c.tenant_id AND o.state = 'leased')
           AS target_count
FROM unnest(CAST(:tenant_ids AS text[])) AS c (tenant_id)
WHERE pg_try_advisory_xact_lock(hashtextextended('graph-lease:' || c.tenant_id, 0))
""")

# `head`: the first operation of a target nobody holds; those of one lane, for a run ends with its slowest. `picked`: it
# and what may follow it in the same run, so that a target's operations are looked for once; nothing that comes after an
# operation which is not due, or not theirs to run.
# Whatever a head's target has that is not done is queued; said so, it is found in the index of targets.
# Scalar subqueries and an array instead of joins: after a quiet hour the planner knows of no open operation, and a join
# it takes for one of two rows goes through the whole queue once for each of them (seen: one second a lease).
LEASE = text("""
WITH share AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:tenant_ids AS text[]), CAST(:takes AS integer[]), CAST(:lease_ids AS uuid[]))
        AS s (tenant_id, take, lease_id)
), head AS MATERIALIZED (
    SELECT h.tenant_id, h.target, h.credential FROM share AS s CROSS JOIN LATERAL (
        SELECT n.*, min(n.lane) OVER () AS first_lane FROM (
            SELECT o.tenant_id, o.target, o.credential, o.lane FROM operation AS o
            WHERE o.tenant_id = s.tenant_id AND o.state = 'queued' AND o.not_before <= :now
              AND (SELECT true FROM operation AS e
                   WHERE e.tenant_id = o.tenant_id AND e.target = o.target AND e.state <> 'done'
                     AND (e.state = 'leased' OR (e.lane, e.seq) < (o.lane, o.seq)) LIMIT 1) IS NULL
            ORDER BY o.lane, o.seq LIMIT s.take) AS n) AS h
    WHERE h.lane = h.first_lane
), picked AS MATERIALIZED (
    SELECT p.operation_id FROM head AS h CROSS JOIN LATERAL (
        SELECT f.operation_id, bool_and(f.is_next) OVER (ORDER BY f.lane, f.seq) AS is_next FROM (
            SELECT o.operation_id, o.lane, o.seq, o.not_before <= :now AND o.credential = h.credential AS is_next
            FROM operation AS o WHERE o.tenant_id = h.tenant_id AND o.target = h.target AND o.state <> 'done'
            ORDER BY o.lane, o.seq LIMIT :follow_max) AS f) AS p
    WHERE p.is_next
)
UPDATE operation AS o
SET state = 'leased', lease_id = (SELECT s.lease_id FROM share AS s WHERE s.tenant_id = o.tenant_id),
    lease_until = :until, attempts = o.attempts + 1, started_at = coalesce(o.started_at, :now)
WHERE o.operation_id = ANY (ARRAY(SELECT operation_id FROM picked)) AND o.state = 'queued'
RETURNING o.operation_id, o.operation, o.version, o.tenant_id, o.target, o.params::text AS params, o.deadline,
          o.reply_to, o.plan_id, o.lane, o.credential, o.traceparent, o.attempts, o.started_at,
          o.progress::text AS progress, o.interrupted, o.interruptions, o.seq
""")

FINISH = text("""
UPDATE operation AS o
SET state = 'done', lease_id = NULL, lease_until = NULL, interrupted = false, progress = NULL,
    finished_at = :now, outcome = r.outcome, error_code = r.error_code, reply = r.reply::json
FROM unnest(CAST(:operation_ids AS uuid[]), CAST(:outcomes AS text[]), CAST(:error_codes AS text[]),
            CAST(:replies AS text[])) AS r (operation_id, outcome, error_code, reply)
WHERE o.operation_id = r.operation_id AND o.lease_id = :lease_id
RETURNING o.operation_id
""")

PARK = text("""
UPDATE operation AS o
SET state = 'queued', lease_id = NULL, lease_until = NULL, interrupted = p.interrupted,
    not_before = p.not_before, progress = p.progress::json,
    interruptions = CASE WHEN p.begun THEN 0 ELSE o.interruptions END,
    attempts = o.attempts - CASE WHEN p.begun THEN 0 ELSE 1 END,
    started_at = CASE WHEN p.begun OR o.attempts > 1 THEN o.started_at END
FROM unnest(CAST(:operation_ids AS uuid[]), CAST(:not_befores AS timestamptz[]), CAST(:progresses AS text[]),
            CAST(:interrupteds AS boolean[]), CAST(:beguns AS boolean[]))
    AS p (operation_id, not_before, progress, interrupted, begun)
WHERE o.operation_id = p.operation_id AND o.lease_id = :lease_id
RETURNING o.operation_id
""")

CHECKPOINT = text("""
UPDATE operation AS o SET progress = c.progress::json
FROM unnest(CAST(:operation_ids AS uuid[]), CAST(:progresses AS text[])) AS c (operation_id, progress)
WHERE o.operation_id = c.operation_id AND o.lease_id = :lease_id
RETURNING o.operation_id
""")

# Rows that are locked are being settled at this moment; waiting for them in another order could deadlock.
EXTEND = text("""
WITH held AS (
    SELECT operation_id FROM operation
    WHERE operation_id = ANY (CAST(:operation_ids AS uuid[])) AND state = 'leased'
      AND lease_id = ANY (CAST(:lease_ids AS uuid[])) AND lease_until <= :due
    FOR UPDATE SKIP LOCKED
)
UPDATE operation AS o SET lease_until = :until FROM held WHERE o.operation_id = held.operation_id
RETURNING o.operation_id
""")

# A run carries a target's operations out one after the other: only the first of them that is left can have begun. Of
# those that were handed over as they came, nearly all still waited in memory: the death is held against none of them.
RECOVER = text("""
WITH expired AS (
    SELECT operation_id, tenant_id, target, lane, seq FROM operation
    WHERE state = 'leased' AND lease_until <= :now FOR UPDATE SKIP LOCKED
), judged AS (
    SELECT operation_id, row_number() OVER (PARTITION BY tenant_id, target ORDER BY lane, seq) = 1 AS begun FROM expired
), put_back AS (
    UPDATE operation AS o
    SET state = 'queued', lease_id = NULL, lease_until = NULL, interrupted = o.interrupted OR j.begun,
        not_before = :now,
        interruptions = o.interruptions
            + CASE WHEN j.begun AND (o.attempts > 1 OR o.started_at > o.received_at) THEN 1 ELSE 0 END,
        attempts = o.attempts - CASE WHEN j.begun THEN 0 ELSE 1 END,
        started_at = CASE WHEN j.begun OR o.attempts > 1 THEN o.started_at END
    FROM judged AS j WHERE o.operation_id = j.operation_id
    RETURNING 1
)
SELECT count(*) FROM put_back
""")

ABANDON = text("""
UPDATE operation SET lease_until = :now
WHERE operation_id = ANY (CAST(:operation_ids AS uuid[])) AND state = 'leased' AND lease_id = :lease_id
""")

PURGE = text("""
WITH old AS (
    SELECT operation_id FROM operation WHERE state = 'done' AND finished_at < :before
    ORDER BY finished_at LIMIT :count_max FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM operation AS o USING old WHERE o.operation_id = old.operation_id RETURNING 1
), forgotten AS (
    DELETE FROM created_object WHERE created_at < :before
)
SELECT count(*) FROM gone
""")

_VIEW = """
SELECT seq, operation_id, operation, version, tenant_id, target, state, lane, plan_id, attempts, received_at,
       not_before, started_at, finished_at, deadline, outcome, error_code
"""

PAGE = text(f"""
{_VIEW} FROM operation
WHERE seq < coalesce(CAST(:before AS bigint), 9223372036854775807)
  AND (CAST(:tenant_id AS text) IS NULL OR tenant_id = :tenant_id)
  AND (CAST(:state AS text) IS NULL OR state = :state)
ORDER BY seq DESC LIMIT :limit
""")

GET = text(f"{_VIEW}, params::text AS params, reply::text AS reply FROM operation WHERE operation_id = :operation_id")
