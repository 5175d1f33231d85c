"""Statements on tables person and hr_event. Each takes arrays; rows are locked in the order (customer, employee_id)."""

from sqlalchemy import text

ACCEPT = text("""
INSERT INTO person (person_id, customer, employee_id, sequence, effective_date, facts, traceparent, status, refusal,
                    site, profile, tenant_id, plan_id, plan_stage, created_at, updated_at)
SELECT p.person_id, p.customer, p.employee_id, p.sequence, p.effective_date, p.facts::jsonb, p.traceparent, p.status,
       p.refusal::jsonb, p.site, p.profile, p.tenant_id, p.plan_id, p.plan_stage, :now, :now
FROM unnest(
    CAST(:person_id AS uuid[]), CAST(:customer AS text[]), CAST(:employee_id AS text[]), CAST(:sequence AS bigint[]),
    CAST(:effective_date AS date[]), CAST(:facts AS text[]), CAST(:traceparent AS text[]), CAST(:status AS text[]),
    CAST(:refusal AS text[]), CAST(:site AS text[]), CAST(:profile AS text[]), CAST(:tenant_id AS text[]),
    CAST(:plan_id AS uuid[]), CAST(:plan_stage AS text[])
) AS p (person_id, customer, employee_id, sequence, effective_date, facts, traceparent, status, refusal, site, profile,
        tenant_id, plan_id, plan_stage)
ORDER BY p.customer, p.employee_id
ON CONFLICT (customer, employee_id) DO UPDATE SET
    sequence = excluded.sequence, effective_date = excluded.effective_date, facts = excluded.facts,
    traceparent = excluded.traceparent, updated_at = excluded.updated_at
WHERE person.sequence < excluded.sequence
RETURNING new.customer, new.employee_id, new.person_id, old.person_id IS NULL AS is_new,
          old.effective_date AS former_date, new.status, new.site, new.profile, new.tenant_id, new.plan_id,
          new.plan_stage, new.replan, new.upn, new.user_id
""")

ASSUME = text("""
INSERT INTO person (person_id, customer, employee_id, sequence, effective_date, facts, status, created_at, updated_at)
VALUES (:person_id, :customer, :employee_id, :sequence, :effective_date, CAST(CAST(:facts AS text) AS jsonb),
        'received', :now, :now)
ON CONFLICT (customer, employee_id) DO UPDATE SET effective_date = excluded.effective_date, facts = excluded.facts
RETURNING person_id
""")

PLACE = text("""
UPDATE person SET
    status = p.status, refusal = p.refusal::jsonb, site = p.site, profile = p.profile, tenant_id = p.tenant_id,
    plan_id = p.plan_id, plan_stage = p.plan_stage, replan = p.replan, updated_at = :now
FROM unnest(
    CAST(:person_id AS uuid[]), CAST(:status AS text[]), CAST(:refusal AS text[]), CAST(:site AS text[]),
    CAST(:profile AS text[]), CAST(:tenant_id AS text[]), CAST(:plan_id AS uuid[]), CAST(:plan_stage AS text[]),
    CAST(:replan AS boolean[])
) AS p (person_id, status, refusal, site, profile, tenant_id, plan_id, plan_stage, replan)
WHERE person.person_id = p.person_id
""")

RECORD = text("""
INSERT INTO hr_event (source, event_id, customer, employee_id, sequence, kind, outcome, plan_id, received_at)
SELECT e.source, e.event_id, e.customer, e.employee_id, e.sequence, e.kind, e.outcome, e.plan_id, :now
FROM unnest(
    CAST(:source AS text[]), CAST(:event_id AS text[]), CAST(:customer AS text[]), CAST(:employee_id AS text[]),
    CAST(:sequence AS bigint[]), CAST(:kind AS text[]), CAST(:outcome AS text[]), CAST(:plan_id AS uuid[])
) AS e (source, event_id, customer, employee_id, sequence, kind, outcome, plan_id)
ON CONFLICT DO NOTHING
""")

_COLUMNS = """
person_id, customer, employee_id, sequence, effective_date, facts::text AS facts, traceparent, status, site, profile,
tenant_id, plan_id, plan_stage, replan, upn, user_id, provisioned::text AS provisioned
"""

LOAD = text(f"""
SELECT {_COLUMNS} FROM person WHERE person_id = ANY (CAST(:person_ids AS uuid[]))
ORDER BY customer, employee_id
FOR NO KEY UPDATE
""")

WAITING = text(f"""
SELECT {_COLUMNS} FROM person
WHERE person_id = ANY (ARRAY(
    SELECT p.person_id FROM person p JOIN tenant t USING (tenant_id)
    WHERE p.status = 'waiting' AND t.state = 'ready' AND t.observed_at IS NOT NULL
    LIMIT :count_max
)) AND status = 'waiting'
ORDER BY customer, employee_id
FOR NO KEY UPDATE SKIP LOCKED
""")

LAST_SEEN = text("""
SELECT (observed->'entra')::text AS entra, observed_at FROM person WHERE person_id = :person_id
""")

USERS = text("""
SELECT p.customer, p.employee_id, p.user_id, p.upn
FROM unnest(CAST(:customers AS text[]), CAST(:employee_ids AS text[])) AS k (customer, employee_id)
JOIN person p ON p.customer = k.customer AND p.employee_id = k.employee_id
WHERE p.user_id IS NOT NULL AND p.provisioned IS NOT NULL
""")

PLANNED = text("""
UPDATE person SET
    upn = p.upn, desired = p.desired::jsonb, status = p.status, refusal = NULL, site = p.site, profile = p.profile,
    plan_stage = 'planned', updated_at = :now
FROM unnest(
    CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[]), CAST(:upn AS text[]), CAST(:desired AS text[]),
    CAST(:status AS text[]), CAST(:site AS text[]), CAST(:profile AS text[])
) AS p (person_id, plan_id, upn, desired, status, site, profile)
WHERE person.person_id = p.person_id AND person.plan_id = p.plan_id
""")

# The rows are locked in order first: an UPDATE joined to an array takes them in any.
SETTLE = text(f"""
WITH locked AS MATERIALIZED (
    SELECT person_id FROM person WHERE person_id = ANY (CAST(:person_id AS uuid[]))
    ORDER BY customer, employee_id
    FOR NO KEY UPDATE
), settled AS (
    UPDATE person SET
        status = s.status,
        refusal = s.refusal::jsonb,
        plan_stage = NULL,
        replan = person.replan OR s.again,
        user_id = coalesce(s.user_id, person.user_id),
        provisioned = CASE WHEN s.proved THEN person.desired ELSE person.provisioned END,
        observed = coalesce(coalesce(person.observed, '{{}}'::jsonb) || s.observed::jsonb, person.observed),
        observed_at = CASE WHEN s.observed IS NULL THEN person.observed_at ELSE :now END,
        updated_at = :now
    FROM unnest(
        CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[]), CAST(:status AS text[]), CAST(:refusal AS text[]),
        CAST(:user_id AS text[]), CAST(:proved AS boolean[]), CAST(:observed AS text[]), CAST(:again AS boolean[])
    ) AS s (person_id, plan_id, status, refusal, user_id, proved, observed, again)
    JOIN locked ON locked.person_id = s.person_id
    WHERE person.person_id = s.person_id AND person.plan_id = s.plan_id
    RETURNING person.*
)
SELECT {_COLUMNS} FROM settled WHERE replan
""")
