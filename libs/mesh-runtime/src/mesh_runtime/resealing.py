"""Rotation of the key-encryption key: every sealed value of a database under the active key, while services run.

Owns the command `reseal` of the services. Rows are locked while they are re-sealed and those a service holds are passed
over, so neither waits for the other; batches are small transactions, and what is done needs no second look, so a run
that was killed is simply started again. Refuses to guess: a value that does not open stays as it is and is reported.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_runtime.db import Database
from mesh_runtime.errors import InvalidInput
from mesh_runtime.sealing import MAGIC, Sealer, header_of
from mesh_runtime.settings import ServiceSettings

BATCH_SIZE = 100
BATCH_SIZE_MAX = 10_000
EXIT_NOT_DONE = 3


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values. `context` makes what a value is bound to out of its row's `key`."""

    table: str
    key: str
    column: str
    context: Callable[[Any], str]

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(slots=True)
class Resealed:
    """What a run did to one column; `unopened` are counted by the reason they did not open."""

    done: int = 0
    unopened: Counter[str] = field(default_factory=Counter)


async def run(argv: Sequence[str], settings: ServiceSettings, columns: Sequence[SealedColumn]) -> int:
    """The command `reseal [--check] [--batch-size N]`: 0 when only the active key is needed, 3 otherwise."""
    parser = argparse.ArgumentParser(prog="reseal", description="Put every sealed value under the active key.")
    parser.add_argument("--check", action="store_true", help="change nothing; say which keys are needed")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help=f"values a transaction, 1-{BATCH_SIZE_MAX}")
    asked = parser.parse_args(argv)
    if not 1 <= asked.batch_size <= BATCH_SIZE_MAX:
        parser.error(f"--batch-size must be from 1 to {BATCH_SIZE_MAX}")
    sealer = Sealer.from_file(settings.kek_file)
    db = Database(settings.database_url, pool_size_max=2, application_name="ucmesh-reseal")
    try:
        if not asked.check:
            for column in columns:
                _say_done(column, await reseal(db, sealer, column, batch_size_max=asked.batch_size), sealer.active)
        needed = await keys_needed(db, columns)
    finally:
        await db.close()
    return _say_needed(needed, sealer)


async def reseal(db: Database, sealer: Sealer, column: SealedColumn, *, batch_size_max: int = BATCH_SIZE) -> Resealed:
    """Re-seals what is under another key than the active one, in the order of the rows' keys."""
    result, last = Resealed(), None
    while True:
        async with db.transaction() as tx:
            last = await _reseal_batch(tx, sealer, column, result, after=last, count_max=batch_size_max)
        if last is None:
            return result


async def keys_needed(db: Database, columns: Sequence[SealedColumn]) -> Mapping[str, Mapping[str, int]]:
    """How many values of each column are under which key."""
    needed: dict[str, Mapping[str, int]] = {}
    async with db.read() as tx:
        for column in columns:
            rows = await tx.execute(_counted(column), {"length_at": len(MAGIC), "kid_at": len(MAGIC) + 2})
            needed[column.name] = {bytes(row.kid).decode(errors="replace"): row.how_many for row in rows}
    return needed


async def _reseal_batch(
    tx: AsyncConnection, sealer: Sealer, column: SealedColumn, result: Resealed, *, after: object, count_max: int
) -> object:
    """The key of the last row that was looked at; None at the end."""
    header = header_of(sealer.active)
    values = {"header": header, "size": len(header), "count": count_max, "after": after}
    rows = (await tx.execute(_stale(column, is_first=after is None), values)).all()
    fresh = []
    for row in rows:
        try:
            fresh.append({"key": row.key, "sealed": sealer.reseal(bytes(row.sealed), context=column.context(row.key))})
        except InvalidInput as error:
            result.unopened[error.message] += 1
    if fresh:
        await tx.execute(_replaced(column), fresh)
    result.done += len(fresh)
    return rows[-1].key if rows else None


def _stale(column: SealedColumn, *, is_first: bool) -> TextClause:
    beyond = "" if is_first else f"AND {column.key} > :after"
    return text(f"""
SELECT {column.key} AS key, {column.column} AS sealed FROM {column.table}
WHERE {column.column} IS NOT NULL AND substr({column.column}, 1, :size) <> CAST(:header AS bytea) {beyond}
ORDER BY {column.key} LIMIT :count FOR NO KEY UPDATE SKIP LOCKED
""")


def _replaced(column: SealedColumn) -> TextClause:
    return text(f"UPDATE {column.table} SET {column.column} = :sealed WHERE {column.key} = :key")


def _counted(column: SealedColumn) -> TextClause:
    sealed = column.column
    return text(f"""
SELECT substr({sealed}, CAST(:kid_at AS integer), get_byte({sealed}, :length_at)) AS kid, count(*) AS how_many
FROM {column.table} WHERE {sealed} IS NOT NULL GROUP BY 1 ORDER BY 1
""")


def _say_done(column: SealedColumn, result: Resealed, active: str) -> None:
    sys.stdout.write(f"{column.name}: {result.done} re-sealed under key {active!r}\n")
    for reason, count in result.unopened.items():
        sys.stdout.write(f"{column.name}: {count} not re-sealed: {reason}\n")


def _say_needed(needed: Mapping[str, Mapping[str, int]], sealer: Sealer) -> int:
    for name, counts in needed.items():
        under = ", ".join(f"{count} under key {kid!r}" for kid, count in counts.items())
        sys.stdout.write(f"{name}: {under or 'nothing sealed'}\n")
    kids = {kid for counts in needed.values() for kid in counts}
    missing, former = sorted(kids - sealer.kids), sorted((kids & sealer.kids) - {sealer.active})
    if missing:
        sys.stdout.write(f"MISSING: the key file lacks {', '.join(missing)}; put it back, or these values are lost\n")
    if former:
        sys.stdout.write(f"still needed: {', '.join(former)}; run reseal (again)\n")
    if not missing and not former:
        sys.stdout.write(f"only the active key {sealer.active!r} is needed: every other key may be taken away\n")
    return EXIT_NOT_DONE if missing or former else 0
