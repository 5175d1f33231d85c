"""The statements on table `dead_letter`.

Owns SQL only; what may follow what is decided in `deadletters.py`.
"""

from sqlalchemy import text

_COLUMNS = """id, consumer, topic, partition, record_offset, key, headers::text AS headers, value, source, event_id,
    type, tenant, reason_code, reason, fingerprint, attempts, occurrences, admitted, state, created_at, updated_at,
    actor,
    note"""

ONE = f"SELECT {_COLUMNS} FROM dead_letter WHERE id = :id"

LIST = text(f"""
SELECT {_COLUMNS} FROM dead_letter
WHERE (CAST(:after AS uuid) IS NULL OR id < CAST(:after AS uuid))
  AND (CAST(:state AS text) IS NULL OR state = CAST(:state AS text))
  AND (CAST(:consumer AS text) IS NULL OR consumer = CAST(:consumer AS text))
  AND (CAST(:topic AS text) IS NULL OR topic = CAST(:topic AS text))
  AND (CAST(:type AS text) IS NULL OR type = CAST(:type AS text))
  AND (CAST(:tenant AS text) IS NULL OR tenant = CAST(:tenant AS text))
  AND (CAST(:code AS text) IS NULL OR reason_code = CAST(:code AS text))
ORDER BY id DESC LIMIT :limit
""")

INSERT = text("""
WITH given AS (
    SELECT g.* FROM unnest(
        CAST(:ids AS uuid[]), CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]),
        CAST(:keys AS bytea[]), CAST(:headers AS text[]), CAST(:values AS bytea[]), CAST(:sources AS text[]),
        CAST(:event_ids AS text[]), CAST(:types AS text[]), CAST(:tenants AS text[]), CAST(:codes AS text[]),
        CAST(:reasons AS text[]), CAST(:fingerprints AS text[]), CAST(:attempts AS integer[]),
        CAST(:digests AS bytea[]), CAST(:admitted AS boolean[])
    ) AS g (id, topic, partition, record_offset, key, headers, value, source, event_id, type, tenant, reason_code,
            reason, fingerprint, attempts, digest, admitted)
), seen AS (
    SELECT DISTINCT ON (g.id) g.id AS unused, d.id
    FROM given g JOIN dead_letter d
      ON d.consumer = :consumer AND d.topic = g.topic AND d.digest = g.digest AND d.state = 'open'
    ORDER BY g.id, d.id
), counted AS (
    UPDATE dead_letter d SET occurrences = d.occurrences + s.times, updated_at = :now
    FROM (SELECT id, count(*) AS times FROM seen GROUP BY id) AS s WHERE d.id = s.id
), written AS (
    INSERT INTO dead_letter (id, consumer, topic, partition, record_offset, key, headers, value, source, event_id, type,
                             tenant, reason_code, reason, fingerprint, attempts, digest, admitted, state, created_at,
                             updated_at)
    SELECT id, :consumer, topic, partition, record_offset, key, headers::json, value, source, event_id, type,
           tenant, reason_code, reason, fingerprint, attempts, digest, admitted, 'open', :now, :now
    FROM given WHERE id NOT IN (SELECT unused FROM seen)
)
SELECT unused, id FROM seen
""")

REOPEN = text("""
UPDATE dead_letter SET state = 'open', updated_at = :now, attempts = attempts + :attempts,
    headers = CAST(:headers AS json), value = :value, reason_code = :code, reason = :reason, fingerprint =
    :fingerprint, admitted = true
WHERE id = :id
""")

SETTLE = text("""
UPDATE dead_letter SET state = :state, updated_at = :now, actor = :actor, note = :note,
    source = coalesce(CAST(:source AS text), source), event_id = coalesce(CAST(:event_id AS text), event_id),
    type = coalesce(CAST(:type AS text), type), tenant = coalesce(CAST(:tenant AS text), tenant)
WHERE id = :id
""")

RESOLVE = text("""
UPDATE dead_letter SET state = 'resolved', updated_at = :now WHERE id = ANY (CAST(:ids AS uuid[]))
""")
