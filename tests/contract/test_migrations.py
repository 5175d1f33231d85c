"""A migration runs while replicas of the release before it serve: it takes nothing away from them, and stops none."""

import pytest

from support import migration_sql
from support.migration_sql import Revision

REVISIONS = [revision for package in migration_sql.packages() for revision in migration_sql.revisions(package)]
EXISTING = "ALTER TABLE plan"


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda r: f"{r.package}-{r.name}")
def test_a_revision_leaves_running_replicas_alone(revision: Revision) -> None:
    assert migration_sql.findings(revision.sql, revision.contracts) == []


@pytest.mark.parametrize("package", migration_sql.packages())
def test_a_revision_that_has_run_somewhere_is_never_edited(package: str) -> None:
    locked = migration_sql.locked(package)
    today = {revision.name: revision.fingerprint for revision in migration_sql.revisions(package)}
    assert {name: today.get(name) for name in locked} == locked, "write a new revision in place of editing this one"
    assert set(today) == set(locked), "run: python tests/support/migration_sql.py"


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        (f"{EXISTING} DROP COLUMN lane", "ban-drop-column"),
        ("DROP TABLE plan", "ban-drop-table"),
        (f"{EXISTING} RENAME COLUMN lane TO track", "renaming-column"),
        (f"{EXISTING} RENAME TO plans", "renaming-table"),
        (f"{EXISTING} ALTER COLUMN round TYPE bigint", "changing-column-type"),
        (f"{EXISTING} ADD COLUMN owner text NOT NULL", "adding-required-field"),
        (f"{EXISTING} ADD COLUMN seen timestamptz DEFAULT clock_timestamp()", "adding-field-with-default"),
        (f"{EXISTING} ALTER COLUMN due_at SET NOT NULL", "adding-not-nullable-field"),
        (f"{EXISTING} ADD CONSTRAINT few CHECK (round < 9)", "constraint-missing-not-valid"),
        (f"{EXISTING} ADD FOREIGN KEY (person_id) REFERENCES person", "adding-foreign-key-constraint"),
        (f"{EXISTING} ADD CONSTRAINT one UNIQUE (person_id)", "disallowed-unique-constraint"),
        (f"{EXISTING} DROP CONSTRAINT plan_lane_check", "ban-drop-constraint"),
        (f"{EXISTING} ALTER COLUMN lane DROP NOT NULL", "ban-drop-not-null"),
        ("CREATE INDEX plan_lane ON plan (lane)", "require-concurrent-index-creation"),
        ("DROP INDEX plan_due", "require-concurrent-index-deletion"),
        ("UPDATE plan SET lane = 'bulk'", "rewrites-rows"),
        ("DELETE FROM plan", "rewrites-rows"),
        ("LOCK TABLE plan", "rewrites-rows"),
    ],
)
def test_what_would_take_away_or_stop_is_refused(sql: str, rule: str) -> None:
    assert any(found.startswith(f"{rule}:") for found in migration_sql.findings(f"{sql};"))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE note (id bigint PRIMARY KEY, plan_id uuid NOT NULL); CREATE INDEX note_plan ON note (plan_id);",
        f"{EXISTING} ADD COLUMN owner text;",
        f"{EXISTING} ADD COLUMN shown boolean NOT NULL DEFAULT false;",
        f"{EXISTING} ADD CONSTRAINT few CHECK (round < 9) NOT VALID;",
        "COMMIT; CREATE INDEX CONCURRENTLY plan_lane ON plan (lane); BEGIN;",
    ],
)
def test_what_expands_passes(sql: str) -> None:
    assert migration_sql.findings(sql) == []


def test_a_revision_that_says_which_releases_end_may_take_away_but_not_stop_traffic() -> None:
    assert migration_sql.findings(f"{EXISTING} DROP COLUMN lane;", contracts=True) == []
    assert migration_sql.findings("CREATE INDEX plan_lane ON plan (lane);", contracts=True) != []
