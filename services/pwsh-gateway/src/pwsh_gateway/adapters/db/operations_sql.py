"""The statements of the queue.

Mutual exclusion without a lock table: only the first unfinished operation of a target may open a visit, and its row is
locked by whoever leases it; a second replica skips the row and, seeing an earlier operation unfinished, the later ones.
"""

from sqlalchemy import text

STREAMS_MAX = 2000
DEPTH_COUNT_MAX = 100_000

ADD = text("""
WITH given AS (
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:operations AS text[]), CAST(:versions AS integer[]), CAST(:modules AS text[]),
        CAST(:tenants AS text[]), CAST(:targets AS text[]), CAST(:credentials AS text[]), CAST(:lanes AS smallint[]),
        CAST(:params AS text[]), CAST(:deadlines AS timestamptz[]), CAST(:reply_tos AS text[]), CAST(:plans AS uuid[]),
        CAST(:traceparents AS text[]), CAST(:states AS text[]), CAST(:outcomes AS text[]), CAST(:replies AS text[])
    ) WITH ORDINALITY AS g (
        operation_id, operation, version, module, tenant_id, target, credential, lane, params, deadline, reply_to,
        plan_id,
        traceparent, state, outcome, reply, place
    )
), added AS (
    INSERT INTO operation (
        operation_id, operation, version, module, tenant_id, target, credential, lane, params, deadline, reply_to,
        plan_id,
        traceparent, state, outcome, reply, not_before, received_at, finished_at
    )
    SELECT operation_id, operation, version, module, tenant_id, target, credential, lane, params::jsonb, deadline,
    reply_to,
           plan_id, traceparent, state, outcome, reply::jsonb, CAST(:now AS timestamptz), CAST(:now AS timestamptz),
           CASE WHEN state = 'done' THEN CAST(:now AS timestamptz) END
    FROM given ORDER BY place
    ON CONFLICT (operation_id) DO NOTHING
    RETURNING operation_id, reply
)
SELECT reply::text AS reply FROM added WHERE reply IS NOT NULL
UNION ALL
SELECT o.reply::text FROM operation AS o
WHERE o.operation_id = ANY (CAST(:ids AS uuid[])) AND o.state = 'done'
""")

# Streams are found one after the other by jumping through the index, only as many as are needed: the LIMIT stops the
# search. `behind` are those after the one that was served last, `before` the others: nobody is served twice in a row.
LEASE = text("""
WITH head AS (
    SELECT h.operation_id, lanes.lane, s.tenant_id, s.module, s.credential, h.target, h.seq
    FROM unnest(CAST(:lanes AS smallint[])) AS lanes (lane)
    CROSS JOIN LATERAL (
        SELECT * FROM (
            WITH RECURSIVE behind AS (
                (SELECT tenant_id, module, credential, 1 AS place FROM operation
                 WHERE state = 'queued' AND lane = lanes.lane AND (tenant_id, module, credential)
                    > (CAST(:after_tenant AS text), CAST(:after_module AS text), CAST(:after_credential AS text))
                 ORDER BY tenant_id, module, credential LIMIT 1)
                UNION ALL
                SELECT n.tenant_id, n.module, n.credential, b.place + 1
                FROM behind AS b CROSS JOIN LATERAL (
                    SELECT tenant_id, module, credential FROM operation
                    WHERE state = 'queued' AND lane = lanes.lane
                      AND (tenant_id, module, credential) > (b.tenant_id, b.module, b.credential)
                    ORDER BY tenant_id, module, credential LIMIT 1
                ) AS n
                WHERE b.place < CAST(:streams_max AS integer)
            )
            SELECT tenant_id, module, credential FROM behind
        ) AS first_part
        UNION ALL
        SELECT * FROM (
            WITH RECURSIVE before AS (
                (SELECT tenant_id, module, credential, 1 AS place FROM operation
                 WHERE state = 'queued' AND lane = lanes.lane AND (tenant_id, module, credential)
                    <= (CAST(:after_tenant AS text), CAST(:after_module AS text), CAST(:after_credential AS text))
                 ORDER BY tenant_id, module, credential LIMIT 1)
                UNION ALL
                SELECT n.tenant_id, n.module, n.credential, b.place + 1
                FROM before AS b CROSS JOIN LATERAL (
                    SELECT tenant_id, module, credential FROM operation
                    WHERE state = 'queued' AND lane = lanes.lane
                      AND (tenant_id, module, credential) > (b.tenant_id, b.module, b.credential)
                      AND (tenant_id, module, credential)
                       <= (CAST(:after_tenant AS text), CAST(:after_module AS text), CAST(:after_credential AS text))
                    ORDER BY tenant_id, module, credential LIMIT 1
                ) AS n
                WHERE b.place < CAST(:streams_max AS integer)
            )
            SELECT tenant_id, module, credential FROM before
        ) AS second_part
    ) AS s
    CROSS JOIN LATERAL (
        SELECT o.operation_id, o.target, o.seq FROM operation AS o
        WHERE o.state = 'queued' AND o.lane = lanes.lane AND o.tenant_id = s.tenant_id AND o.module = s.module
          AND o.credential = s.credential AND o.not_before <= CAST(:now AS timestamptz)
          AND NOT EXISTS (
              SELECT 1 FROM operation AS e
              WHERE e.state IN ('queued', 'leased') AND e.tenant_id = o.tenant_id AND e.module = o.module
                AND e.credential = o.credential AND e.target = o.target AND e.seq < o.seq
          )
        ORDER BY o.seq LIMIT 1
    ) AS h
    WHERE s.tenant_id || '/' || s.module || '/' || s.credential <> ALL (CAST(:closed AS text[]))
    LIMIT CAST(:limit AS integer)
), chosen AS (
    SELECT *, row_number() OVER () AS turn FROM head
), mine AS (
    SELECT c.* FROM chosen AS c CROSS JOIN LATERAL (
        SELECT 1 FROM operation AS o WHERE o.operation_id = c.operation_id AND o.state = 'queued'
        FOR UPDATE SKIP LOCKED
    ) AS o
), member AS (
    SELECT m.operation_id, c.turn FROM mine AS c CROSS JOIN LATERAL (
        SELECT o.operation_id FROM operation AS o
        WHERE o.state = 'queued' AND o.tenant_id = c.tenant_id AND o.module = c.module AND o.credential = c.credential
          AND o.target = c.target AND o.not_before <= CAST(:now AS timestamptz)
          AND NOT EXISTS (
              SELECT 1 FROM operation AS w
              WHERE w.state = 'queued' AND w.tenant_id = o.tenant_id AND w.module = o.module
                AND w.credential = o.credential AND w.target = o.target AND w.seq < o.seq
                  AND w.not_before > CAST(:now AS timestamptz)
          )
        ORDER BY o.seq LIMIT CAST(:operations_max AS integer)
        FOR UPDATE SKIP LOCKED
    ) AS m
), leased AS (
    UPDATE operation AS o SET
        state = 'leased', lease_owner = CAST(:owner AS uuid), lease_until = CAST(:until AS timestamptz),
        attempts = o.attempts + 1,
        started_at = coalesce(o.started_at, CAST(:now AS timestamptz))
    FROM member AS m WHERE o.operation_id = m.operation_id
    RETURNING o.operation_id, o.seq, o.operation, o.version, o.tenant_id, o.module, o.credential, o.target,
              o.params::text AS params, o.deadline, o.reply_to, o.plan_id, o.lane, o.traceparent, o.attempts,
              o.received_at, o.started_at, o.intent::text AS intent, m.turn
)
SELECT l.*, c.credential_id, coalesce(c.customer, (
    SELECT any_c.customer FROM credential AS any_c WHERE any_c.tenant_id = l.tenant_id LIMIT 1
)) AS customer, (
    SELECT json_agg(json_build_array(w.params ->> 'identity', w.written) ORDER BY w.finished_at, w.seq)::text
    FROM operation AS w
    WHERE w.tenant_id = l.tenant_id AND w.module = l.module AND w.target = l.target AND w.written IS NOT NULL
      AND w.finished_at >= CAST(:since AS timestamptz)
) AS recent
FROM leased AS l
LEFT JOIN credential AS c ON c.tenant_id = l.tenant_id
    AND CASE WHEN l.credential = 'active' THEN c.state = 'active' ELSE c.credential_id::text = l.credential END
ORDER BY l.turn, l.seq
""")

# Whoever writes to several leased operations locks them in the order of their ids first, so that leases are renewed,
# intents recorded and visits written down side by side without a deadlock.
HOLD = text("""
SELECT operation_id FROM operation
WHERE operation_id = ANY (CAST(:ids AS uuid[])) AND state = 'leased' AND lease_owner = :owner
ORDER BY operation_id FOR UPDATE
""")

RENEW = text("""
UPDATE operation SET lease_until = :until
WHERE operation_id = ANY (CAST(:ids AS uuid[])) AND state = 'leased' AND lease_owner = :owner RETURNING operation_id
""")

RECLAIM = text("""
UPDATE operation SET state = 'queued', lease_owner = NULL, lease_until = NULL
WHERE state = 'leased' AND lease_until < :now RETURNING operation_id
""")

RECORD_INTENTS = text("""
UPDATE operation AS o SET intent = g.intent::jsonb
FROM unnest(CAST(:ids AS uuid[]), CAST(:intents AS text[])) AS g (operation_id, intent)
WHERE o.operation_id = g.operation_id AND o.state = 'leased' AND o.lease_owner = :owner
RETURNING o.operation_id
""")

FINISH = text("""
UPDATE operation AS o SET
    state = 'done', outcome = g.outcome, reply = g.reply::jsonb, written = g.written::jsonb,
    finished_at = g.finished_at,
    lease_owner = NULL, lease_until = NULL, problem = NULL
FROM unnest(
    CAST(:ids AS uuid[]), CAST(:outcomes AS text[]), CAST(:replies AS text[]), CAST(:written AS text[]),
    CAST(:finished_at AS timestamptz[])
) AS g (operation_id, outcome, reply, written, finished_at)
WHERE o.operation_id = g.operation_id AND o.state = 'leased' AND o.lease_owner = :owner
RETURNING o.operation_id
""")

GIVE_BACK = text("""
UPDATE operation AS o SET
    state = 'queued', lease_owner = NULL, lease_until = NULL, not_before = g.not_before,
    problem = coalesce(g.problem::jsonb, o.problem),
    intent = CASE WHEN g.keep THEN o.intent END,
    attempts = o.attempts - 1 + g.attempted
FROM unnest(
    CAST(:ids AS uuid[]), CAST(:not_before AS timestamptz[]), CAST(:problems AS text[]), CAST(:keep AS boolean[]),
    CAST(:attempted AS integer[])
) AS g (operation_id, not_before, problem, keep, attempted)
WHERE o.operation_id = g.operation_id AND o.state = 'leased' AND o.lease_owner = :owner
""")

HASTEN = text("""
UPDATE operation SET not_before = :now WHERE state = 'queued' AND tenant_id = :tenant AND not_before > :now
""")

FORGET = text("""
DELETE FROM operation WHERE operation_id IN (
    SELECT operation_id FROM operation WHERE state = 'done' AND finished_at < :before LIMIT :limit
) RETURNING operation_id
""")

DEPTH = text("""
SELECT count(*) AS waiting,
       coalesce(extract(epoch FROM CAST(:now AS timestamptz) - min(received_at)), 0) AS oldest_seconds
FROM (SELECT received_at FROM operation WHERE state = 'queued' LIMIT :count_max) AS queued
""")
