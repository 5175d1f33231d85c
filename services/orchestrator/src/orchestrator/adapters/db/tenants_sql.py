"""Statements on table tenant and on what was observed in it."""

from sqlalchemy import text

READY = text("""
SELECT tenant_id FROM tenant
WHERE tenant_id = ANY (CAST(:tenant_ids AS text[])) AND state = 'ready' AND observed_at IS NOT NULL
""")

OBSERVED_AT = text("""
SELECT tenant_id, observed_at FROM tenant
WHERE tenant_id = ANY (CAST(:tenant_ids AS text[])) AND observed_at IS NOT NULL
""")

SKUS = text("""
SELECT tenant_id, sku_id, part_number, plans::text AS plans FROM seat_pool
WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))
""")

CAPABILITIES = text("""
SELECT tenant_id, capabilities::text AS capabilities,
       coalesce((observation->>'has_more_groups')::boolean, false) AS has_more_groups
FROM tenant WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))
""")

GROUPS = text("""
SELECT w.tenant_id, w.name, g.group_id, g.display_name
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:names AS text[])) AS w (tenant_id, name)
JOIN tenant_group g ON g.tenant_id = w.tenant_id AND lower(g.display_name) = w.name
UNION
SELECT w.tenant_id, w.name, g.group_id, g.display_name
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:names AS text[])) AS w (tenant_id, name)
JOIN tenant_group g ON g.tenant_id = w.tenant_id AND g.group_id = w.name
ORDER BY group_id
""")

ACTIVATED = text("""
WITH activated AS (
    UPDATE tenant SET state = 'ready', state_at = :now, reason = NULL, credential_id = a.credential_id,
                      credential_not_after = a.not_after, observe_due_at = :now
    FROM unnest(CAST(:tenant_ids AS text[]), CAST(:credential_ids AS text[]), CAST(:not_after AS timestamptz[]))
        AS a (tenant_id, credential_id, not_after)
    WHERE tenant.tenant_id = a.tenant_id
)
SELECT pg_notify(:channel, '')
""")

FAILED = text("""
UPDATE tenant SET
    state = CASE WHEN state = 'ready' THEN 'ready' ELSE 'failed' END,
    state_at = CASE WHEN state = 'ready' THEN state_at ELSE :now END,
    reason = f.reason::jsonb
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:reasons AS text[])) AS f (tenant_id, reason)
WHERE tenant.tenant_id = f.tenant_id
""")

OBSERVE_SOON = text("""
WITH due AS (
    UPDATE tenant SET observe_due_at = :now
    WHERE tenant_id = ANY (ARRAY(
        SELECT tenant_id FROM tenant WHERE tenant_id = ANY (CAST(:tenant_ids AS text[])) AND state = 'ready'
        AND (observe_due_at IS NULL OR observe_due_at > :now)
        FOR UPDATE SKIP LOCKED
    ))
)
SELECT pg_notify(:channel, '')
""")

CLAIM_DUE = text("""
UPDATE tenant SET observe_due_at = :again_at
WHERE tenant_id = ANY (ARRAY(
    SELECT tenant_id FROM tenant WHERE state = 'ready' AND observe_due_at <= :now
    ORDER BY observe_due_at LIMIT :count_max FOR UPDATE SKIP LOCKED
))
RETURNING tenant_id
""")

LOCK_TENANTS = text("""
SELECT tenant_id FROM tenant WHERE tenant_id = ANY (CAST(:tenant_ids AS text[])) ORDER BY tenant_id FOR UPDATE
""")

CLEAR_POOLS = text("DELETE FROM seat_pool WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))")
CLEAR_GROUPS = text("DELETE FROM tenant_group WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))")

INSERT_POOLS = text("""
INSERT INTO seat_pool (tenant_id, sku_id, part_number, capability_status, enabled, warning, consumed, plans,
                       observed_at)
SELECT p.tenant_id, p.sku_id, p.part_number, p.capability_status, p.enabled, p.warning, p.consumed, p.plans::jsonb,
       :now
FROM unnest(
    CAST(:tenant_id AS text[]), CAST(:sku_id AS text[]), CAST(:part_number AS text[]),
    CAST(:capability_status AS text[]), CAST(:enabled AS integer[]), CAST(:warning AS integer[]),
    CAST(:consumed AS integer[]), CAST(:plans AS text[])
) AS p (tenant_id, sku_id, part_number, capability_status, enabled, warning, consumed, plans)
""")

INSERT_GROUPS = text("""
INSERT INTO tenant_group (tenant_id, group_id, display_name)
SELECT g.tenant_id, g.group_id, g.display_name
FROM unnest(CAST(:tenant_id AS text[]), CAST(:group_id AS text[]), CAST(:display_name AS text[]))
    AS g (tenant_id, group_id, display_name)
""")

# What ended well before the read is in the tenant's own count; all else stays promised, on the safe side.
FORGET_CONSUMED = text("""
DELETE FROM seat_hold h
USING unnest(CAST(:tenant_ids AS text[]), CAST(:counted_until AS timestamptz[])) AS t (tenant_id, counted_until)
WHERE h.tenant_id = t.tenant_id AND h.state = 'consumed' AND h.changed_at < t.counted_until
""")

OBSERVED = text("""
WITH observed AS (
    UPDATE tenant SET observed_at = :now, capabilities = o.capabilities::jsonb, observation = o.observation::jsonb
    FROM unnest(CAST(:tenant_ids AS text[]), CAST(:capabilities AS text[]), CAST(:observations AS text[]))
        AS o (tenant_id, capabilities, observation)
    WHERE tenant.tenant_id = o.tenant_id
)
SELECT pg_notify(:channel, '')
""")

UNOBSERVED = text("""
UPDATE tenant SET observation = coalesce(observation, '{}'::jsonb)
                      || jsonb_build_object('error', u.reason::jsonb, 'at', CAST(:now AS timestamptz)),
                  observe_due_at = least(observe_due_at, :again_at)
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:reasons AS text[])) AS u (tenant_id, reason)
WHERE tenant.tenant_id = u.tenant_id
""")
