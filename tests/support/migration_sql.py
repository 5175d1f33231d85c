"""The SQL of every migration, what a linter says against it, and which of them may no longer change.

Owns rendering a revision without a database and the lock of revisions. Refuses a list of revisions of its own: they are
those of the packages. `python tests/support/migration_sql.py` adds new revisions to the locks.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

ROOT = Path(__file__).resolve().parents[2]
POSTGRESQL_MIN = "17.0"

NOT_ASKED = (
    "prefer-bigint-over-int",  # small numbers are meant to be small
    "prefer-bigint-over-smallint",
    "prefer-robust-stmts",  # IF NOT EXISTS would keep an index whose build was broken off
    "require-lock-timeout",  # set on the connection by mesh_runtime.migrations
    "require-statement-timeout",
)
CONTRACTING = frozenset(
    {
        "ban-drop-column",
        "ban-drop-table",
        "ban-drop-type",
        "ban-drop-function",
        "ban-drop-constraint",
        "ban-drop-default",
        "ban-drop-not-null",
        "renaming-column",
        "renaming-table",
    }
)
"""What a revision may do that says which releases end with it. The other findings stop traffic: no revision may."""

_WHOLE_TABLE = re.compile(r"^\s*(UPDATE|DELETE|TRUNCATE|LOCK)\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration of a service."""

    package: str
    name: str
    sql: str
    contracts: bool
    """It ends the support of older releases (`end_support_before`)."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what it does; comments of its file may change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def packages() -> list[str]:
    """Every package that has migrations."""
    return sorted(path.parent.parent.name for path in ROOT.glob("services/*/src/*/migrations/env.py"))


def revisions(package: str) -> list[Revision]:
    """The package's revisions, oldest first."""
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.set_main_option("path_separator", "os")
    scripts = reversed(list(ScriptDirectory.from_config(config).walk_revisions()))
    return [_rendered(package, script.revision, script.module.upgrade) for script in scripts]


def findings(sql: str, contracts: bool = False) -> list[str]:
    """What the SQL of one revision does to running replicas, as `rule: explanation`; empty when they notice nothing."""
    command = [Path(sys.executable).with_name("squawk"), f"--pg-version={POSTGRESQL_MIN}"]
    command += ["--reporter=json", f"--exclude={','.join(NOT_ASKED)}", "--stdin-filepath=revision.sql"]
    in_transaction = f"BEGIN; {sql} COMMIT;"
    result = subprocess.run(command, input=in_transaction, capture_output=True, text=True, check=False)
    found = [(f["rule_name"], f["message"]) for f in json.loads(result.stdout)]
    allowed = CONTRACTING if contracts else frozenset()
    return [f"{rule}: {message}" for rule, message in found if rule not in allowed] + list(_whole_tables(sql))


def lock_file(package: str) -> Path:
    """Where the fingerprints of the package's revisions stand, one a line."""
    return ROOT / "services" / package.replace("_", "-") / "src" / package / "migrations" / "revisions.lock"


def locked(package: str) -> dict[str, str]:
    """Revision -> fingerprint it had when it was locked."""
    path = lock_file(package)
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def _rendered(package: str, name: str, upgrade: Callable[[], None]) -> Revision:
    text = io.StringIO()
    options = {"as_sql": True, "literal_binds": True, "output_buffer": text}
    with Operations.context(MigrationContext.configure(dialect_name="postgresql", opts=options)):
        upgrade()
    sql = text.getvalue()
    return Revision(package, name, sql, contracts="INSERT INTO schema_served" in sql)


def _whole_tables(sql: str) -> Iterator[str]:
    for found in _WHOLE_TABLE.finditer(sql.replace("DELETE FROM schema_served", "")):
        yield f"rewrites-rows: {found[1].upper()} in a migration holds locks for as long as the table is large"


def _lock_new() -> None:
    for package in packages():
        known = locked(package)
        new = {r.name: r.fingerprint for r in revisions(package) if r.name not in known}
        lines = ["# What each revision does, as SHA-256 of its SQL: a revision that has been here is never edited."]
        lines += [f"{name} {fingerprint}" for name, fingerprint in (known | new).items()]
        lock_file(package).write_text("\n".join(lines) + "\n")
        sys.stdout.write(f"{package}: {', '.join(new) or 'nothing new'}\n")


if __name__ == "__main__":
    _lock_new()
