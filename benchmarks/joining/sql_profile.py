"""Where PostgreSQL's time goes for a joiner: statements by time, tables by rows written.

Owns reading pg_stat_statements and pg_stat_user_tables. The extension must be loaded (joiner.py does it for --profile).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

STATEMENTS_MAX = 16
TEXT_LENGTH_MAX = 70

_STATEMENTS = """
SELECT d.datname, s.query, sum(s.calls)::float8 AS calls, sum(s.rows)::float8 AS rows,
       sum(s.total_exec_time)::float8 * 1000 AS microseconds, sum(s.wal_bytes)::float8 AS log_bytes
FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname <> 'postgres' GROUP BY 1, 2 ORDER BY microseconds DESC LIMIT $1
"""
_TABLES = """
SELECT relname, n_tup_ins::float8 AS inserted, n_tup_upd::float8 AS updated, n_tup_hot_upd::float8 AS in_place,
       n_tup_del::float8 AS deleted
FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement's share of the stretch."""

    database: str
    text: str
    calls: float
    rows: float
    microseconds: float
    log_bytes: float


@dataclass(frozen=True, slots=True)
class TableWrites:
    """Rows written to one table. `in_place`: updates that touched no index (HOT)."""

    name: str
    inserted: float
    updated: float
    in_place: float
    deleted: float


@dataclass(frozen=True, slots=True)
class SqlProfile:
    """Of the measured stretch."""

    statements: tuple[Statement, ...]
    tables: tuple[TableWrites, ...]


@dataclass(frozen=True, slots=True)
class SqlSampler:
    """Reads as superuser; `databases` are those whose tables are counted."""

    url: str
    databases: Sequence[str]

    async def begin(self) -> None:
        """Everything counts from now on."""
        await self._run(self.url, "SELECT pg_stat_statements_reset()")
        for database in self.databases:
            await self._run(_of(self.url, database), "SELECT pg_stat_reset()")

    async def collect(self) -> SqlProfile:
        rows = await self._run(self.url, _STATEMENTS, STATEMENTS_MAX)
        statements = tuple(
            Statement(
                row["datname"],
                re.sub(r"\s+", " ", row["query"]).strip()[:TEXT_LENGTH_MAX],
                row["calls"],
                row["rows"],
                row["microseconds"],
                row["log_bytes"],
            )
            for row in rows
        )
        tables: list[TableWrites] = []
        for database in self.databases:
            for row in await self._run(_of(self.url, database), _TABLES):
                name, *counts = row.values()
                tables.append(TableWrites(f"{database}.{name}", *counts))
        tables.sort(key=lambda table: -(table.inserted + table.updated + table.deleted))
        return SqlProfile(statements, tuple(tables))

    async def _run(self, url: str, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()


def _of(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
