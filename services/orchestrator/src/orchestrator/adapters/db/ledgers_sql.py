"""Statements on the ledgers: seats, numbers and names of a tenant. Whoever reserves holds the tenant's ledger row."""

from sqlalchemy import text

LOCK = text("""
SELECT tenant_id FROM tenant_ledger WHERE tenant_id = ANY (CAST(:tenant_ids AS text[]))
ORDER BY tenant_id
FOR UPDATE
""")

OCCUPIED = text("""
SELECT r.tenant_id, r.base, array_agg(r.ordinal) AS ordinals
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:bases AS text[])) AS b (tenant_id, base)
JOIN upn_reservation r ON r.tenant_id = b.tenant_id AND r.base = b.base
GROUP BY r.tenant_id, r.base
""")

KEPT_NAMES = text("""
SELECT person_id, upn, base, ordinal FROM upn_reservation WHERE person_id = ANY (CAST(:person_ids AS uuid[]))
""")

KEPT_NUMBERS = text("""
SELECT person_id, number, type, location_id, site, status FROM number
WHERE person_id = ANY (CAST(:person_ids AS uuid[]))
ORDER BY person_id, status = 'used' DESC, length(number), number
""")

KEPT_SEATS = text("""
SELECT person_id, array_agg(sku_id) AS skus FROM seat_hold
WHERE person_id = ANY (CAST(:person_ids AS uuid[])) GROUP BY person_id
""")

POOLS = text("""
SELECT p.tenant_id, p.sku_id, p.part_number, p.capability_status, p.enabled, p.warning, p.consumed,
       (SELECT count(*) FROM seat_hold h WHERE h.tenant_id = p.tenant_id AND h.sku_id = p.sku_id) AS held
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:sku_ids AS text[])) AS w (tenant_id, sku_id)
JOIN seat_pool p ON p.tenant_id = w.tenant_id AND p.sku_id = w.sku_id
""")

FREE_NUMBERS = text("""
SELECT w.customer, w.site, n.number, n.type, n.location_id
FROM unnest(CAST(:customers AS text[]), CAST(:sites AS text[]), CAST(:counts AS integer[])) AS w (customer, site, count)
CROSS JOIN LATERAL (
    SELECT number, type, location_id FROM number
    WHERE customer = w.customer AND site = w.site AND status = 'available' AND listed
    ORDER BY length(number), number
    LIMIT w.count
    FOR UPDATE
) n
ORDER BY length(n.number), n.number
""")

NAMES_OF_OTHERS = text("""
SELECT r.tenant_id, r.upn
FROM unnest(CAST(:tenant_ids AS text[]), CAST(:upns AS text[]), CAST(:person_ids AS uuid[]))
    AS c (tenant_id, upn, person_id)
JOIN upn_reservation r ON r.tenant_id = c.tenant_id AND r.upn = c.upn AND r.person_id IS DISTINCT FROM c.person_id
""")

SHELVES = text("""
SELECT n.customer, n.site, count(*) AS total,
       count(*) FILTER (WHERE n.status IN ('used', 'used-utility', 'cooling')) AS used,
       count(*) FILTER (WHERE n.status IN ('reserved', 'staged')) AS reserved,
       (array_agg(n.number ORDER BY length(n.number), n.number))[1] AS first,
       (array_agg(n.number ORDER BY length(n.number) DESC, n.number DESC))[1] AS last
FROM unnest(CAST(:customers AS text[]), CAST(:sites AS text[])) AS w (customer, site)
JOIN number n ON n.customer = w.customer AND n.site = w.site AND n.listed
GROUP BY n.customer, n.site
""")

RESERVE_NAMES = text("""
INSERT INTO upn_reservation (tenant_id, upn, base, ordinal, person_id, plan_id, state)
SELECT r.tenant_id, r.upn, r.base, r.ordinal, r.person_id, r.plan_id, 'reserved'
FROM unnest(
    CAST(:tenant_id AS text[]), CAST(:upn AS text[]), CAST(:base AS text[]), CAST(:ordinal AS integer[]),
    CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[])
) AS r (tenant_id, upn, base, ordinal, person_id, plan_id)
ON CONFLICT (tenant_id, upn) DO UPDATE SET plan_id = excluded.plan_id
WHERE upn_reservation.person_id = excluded.person_id
""")

# Whatever the person holds already is taken over by the plan that plans now; only then is it this plan's to give back.
TAKE_OVER_NUMBERS = text("""
UPDATE number SET plan_id = r.plan_id
FROM unnest(CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[])) AS r (person_id, plan_id)
WHERE number.person_id = r.person_id AND number.status = 'reserved' AND number.plan_id IS DISTINCT FROM r.plan_id
""")

TAKE_OVER_SEATS = text("""
UPDATE seat_hold SET plan_id = r.plan_id
FROM unnest(CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[])) AS r (person_id, plan_id)
WHERE seat_hold.person_id = r.person_id AND seat_hold.state = 'held' AND seat_hold.plan_id IS DISTINCT FROM r.plan_id
""")

RESERVE_NUMBERS = text("""
UPDATE number SET status = 'reserved', person_id = r.person_id, plan_id = r.plan_id, changed_at = :now
FROM unnest(
    CAST(:customer AS text[]), CAST(:number AS text[]), CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[])
) AS r (customer, number, person_id, plan_id)
WHERE number.customer = r.customer AND number.number = r.number AND number.status = 'available'
""")

RESERVE_SEATS = text("""
INSERT INTO seat_hold (tenant_id, sku_id, person_id, plan_id, state, changed_at)
SELECT r.tenant_id, r.sku_id, r.person_id, r.plan_id, 'held', :now
FROM unnest(
    CAST(:tenant_id AS text[]), CAST(:sku_id AS text[]), CAST(:person_id AS uuid[]), CAST(:plan_id AS uuid[])
) AS r (tenant_id, sku_id, person_id, plan_id)
ON CONFLICT (tenant_id, sku_id, person_id) DO UPDATE SET plan_id = excluded.plan_id
""")

NOTE_TAKEN = text("""
INSERT INTO upn_reservation (tenant_id, upn, base, ordinal, state)
SELECT t.tenant_id, t.upn, t.base, t.ordinal, 'observed'
FROM unnest(CAST(:tenant_id AS text[]), CAST(:upn AS text[]), CAST(:base AS text[]), CAST(:ordinal AS integer[]))
    AS t (tenant_id, upn, base, ordinal)
ON CONFLICT DO NOTHING
""")

RELEASE_NAMES = text("""
DELETE FROM upn_reservation WHERE plan_id = ANY (CAST(:plan_ids AS uuid[])) AND state = 'reserved'
""")
RELEASE_SEATS = text("DELETE FROM seat_hold WHERE plan_id = ANY (CAST(:plan_ids AS uuid[])) AND state = 'held'")
RELEASE_NUMBERS = text("""
UPDATE number SET status = 'available', person_id = NULL, plan_id = NULL, changed_at = :now
WHERE plan_id = ANY (CAST(:plan_ids AS uuid[])) AND status = 'reserved'
""")
SET_ASIDE_NUMBERS = text("""
UPDATE number SET status = s.status, note = s.note, person_id = NULL, plan_id = NULL, changed_at = :now
FROM unnest(CAST(:plan_ids AS uuid[]), CAST(:statuses AS text[]), CAST(:notes AS text[])) AS s (plan_id, status, note)
WHERE number.plan_id = s.plan_id AND number.status = 'reserved'
""")
ADOPT_NUMBERS = text("""
UPDATE number SET status = 'used', person_id = h.person_id, plan_id = h.plan_id, note = NULL, changed_at = :now
FROM unnest(
    CAST(:plan_id AS uuid[]), CAST(:person_id AS uuid[]), CAST(:customer AS text[]), CAST(:number AS text[])
) AS h (plan_id, person_id, customer, number)
WHERE number.customer = h.customer AND number.number = h.number
  AND (number.person_id IS NULL OR number.status = 'reserved')
RETURNING h.plan_id
""")
FREE_NUMBER = text("""
UPDATE number SET status = 'available', note = NULL, plan_id = NULL, changed_at = :now
WHERE customer = :customer AND number = :number AND person_id IS NULL
RETURNING old.status
""")
GIVE_BACK_NUMBERS = text("""
UPDATE number SET status = 'available', person_id = NULL, plan_id = NULL, changed_at = :now
WHERE person_id = ANY (CAST(:person_ids AS uuid[])) AND status = 'reserved'
""")

USE_NAMES = text("""
UPDATE upn_reservation SET state = 'used' WHERE plan_id = ANY (CAST(:plan_ids AS uuid[])) AND state = 'reserved'
""")
USE_NUMBERS = text("""
UPDATE number SET status = 'used', changed_at = :now
WHERE plan_id = ANY (CAST(:plan_ids AS uuid[])) AND status = 'reserved'
""")
USE_SEATS = text("""
UPDATE seat_hold SET state = 'consumed', changed_at = :now
WHERE plan_id = ANY (CAST(:plan_ids AS uuid[])) AND state = 'held'
""")
