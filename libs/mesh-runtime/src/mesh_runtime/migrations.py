"""Schema migrations: every process may ask for them at start, exactly one runs them.

Owns the lock around Alembic, the one-line env.py of the services, and what an older release does with a newer schema.
Refuses to wait for ever, and to make traffic wait: the lock and every DDL statement give up in bounded time.

A package keeps `<package>/migrations/env.py` with `from mesh_runtime.migrations import run_env; run_env()` and its
revisions in `<package>/migrations/versions/`. A revision expands, so that older releases go on; one that takes
something away says which releases end with it, `end_support_before` (docs/decisions/0014-releases.md).
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from alembic import command, context, op
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, exc, pool, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mesh_runtime.db import CONNECT_TIMEOUT_SECONDS, KEEPALIVES, plain_dsn, translated
from mesh_runtime.errors import Conflict, Unavailable
from mesh_runtime.logs import get_logger

LOCK_KEY = 0x75636D657368
LOCK_TIMEOUT_SECONDS = 120.0
LOCK_POLL_SECONDS = 0.2
LOCK_SIGN_SECONDS = 5.0
"""How often the holder of the lock shows that it lives."""
LOCK_SILENCE_SECONDS = 30
"""PostgreSQL ends a session that holds the lock or a transaction and says nothing for so long: its machine is gone."""
DDL_LOCK_TIMEOUT_SECONDS = 1.5
"""What waits behind a statement that waits for its lock waits as long: short enough for nobody to notice."""
DDL_ATTEMPTS_MAX = 16
DDL_RETRY_SECONDS = 3.0
"""The traffic that queued behind an attempt is let through before the next one."""

_log = get_logger("mesh_runtime.migrations")
# Alembic's context is one global per process, so two migrations in one event loop must not interleave.
_alembic_turn: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


async def upgrade(url: SecretStr | str, package: str, revision: str = "head") -> None:
    """Brings the database at `url` up to a revision of `package`'s migrations; returns at once when it is there.

    Safe to call from many processes at the same moment. A database that a newer release has migrated is left as it is.
    Raises Unavailable when the database does not answer, the turn does not come within LOCK_TIMEOUT_SECONDS, or a table
    stays locked by others, and Conflict when a newer release has taken away what this one needs.
    """
    async with _turn(), _locked(url):
        if await _is_ahead(url, package):
            return
        for attempt in range(1, DDL_ATTEMPTS_MAX + 1):
            try:
                await _run(url, package, revision)
            except exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != "55P03":
                    raise
                _log.warning("migrations.table_locked", package=package, attempt=attempt)
                if attempt == DDL_ATTEMPTS_MAX:
                    raise Unavailable("a table stayed locked while migrating", code="migration-blocked") from error
                await asyncio.sleep(DDL_RETRY_SECONDS)
            else:
                return


async def current(url: SecretStr | str, package: str) -> str | None:
    """The revision the database is at; None before the first one. `package` must own a migrations folder."""
    ScriptDirectory.from_config(_config(package))

    def revision(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    async with _engine(url).connect() as connection:
        return await connection.run_sync(revision)


def run_env() -> None:
    """The whole of a service's env.py: runs the revisions on the connection that `upgrade` opened."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("migrations run through `python -m <package> migrate`, which holds the lock")
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def create_index_concurrently(name: str, definition: str) -> None:
    """In a revision: builds the index while others read and write. `definition` is what follows `CREATE INDEX name`.

    A build that was broken off leaves an index that is not valid and helps nobody; the next attempt drops it first.
    """
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} {definition}")


def end_support_before(revision: str) -> None:
    """In a revision that takes something away: releases that do not know `revision` no longer start on this schema."""
    op.execute("CREATE TABLE IF NOT EXISTS schema_served (oldest_revision text NOT NULL)")
    op.execute("DELETE FROM schema_served")
    op.execute(text("INSERT INTO schema_served VALUES (:revision)").bindparams(revision=revision))


async def _is_ahead(url: SecretStr | str, package: str) -> bool:
    """Whether a newer release has migrated the database. Raises Conflict when it no longer serves this release."""
    known = {script.revision for script in ScriptDirectory.from_config(_config(package)).walk_revisions()}

    def revisions(connection: Connection) -> tuple[str | None, str | None]:
        there = MigrationContext.configure(connection).get_current_revision()
        has_contracted = connection.scalar(text("SELECT to_regclass('schema_served') IS NOT NULL"))
        oldest = connection.scalar(text("SELECT oldest_revision FROM schema_served")) if has_contracted else None
        return there, oldest

    async with _engine(url).connect() as connection:
        there, oldest = await connection.run_sync(revisions)
    if there is None or there in known:
        return False
    if oldest is not None and oldest not in known:
        raise Conflict(
            f"the database is at revision {there}, which no longer serves this release of {package}",
            code="schema-too-new",
            remedy=f"Run a release of {package} that knows revision {oldest}.",
        )
    _log.info("migrations.newer_schema", package=package, revision=there)
    return True


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _engine(url: SecretStr | str) -> AsyncEngine:
    connect_args = {
        "dsn": plain_dsn(url),
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "server_settings": {
            **KEEPALIVES,
            "application_name": "ucmesh-migrations",
            "lock_timeout": f"{DDL_LOCK_TIMEOUT_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{LOCK_SILENCE_SECONDS}s",
        },
    }
    return create_async_engine("postgresql+asyncpg://", poolclass=pool.NullPool, connect_args=connect_args)


async def _run(url: SecretStr | str, package: str, revision: str) -> None:
    config = _config(package)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with _engine(url).connect() as connection:
        await connection.run_sync(run)
        await connection.commit()


@asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    async with _alembic_turn.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        yield


@asynccontextmanager
async def _locked(url: SecretStr | str) -> AsyncIterator[None]:
    """Holds the advisory lock on a connection of its own, so the migrations' commits cannot drop it."""
    settings = {
        **KEEPALIVES,
        "application_name": "ucmesh-migrations-lock",
        "idle_session_timeout": f"{LOCK_SILENCE_SECONDS}s",
    }
    with translated():
        try:
            connection = await asyncpg.connect(
                plain_dsn(url), timeout=CONNECT_TIMEOUT_SECONDS, server_settings=settings
            )
        except OSError as error:
            raise Unavailable("the database does not answer", code="database-unavailable") from error
        try:
            await _take_lock(connection)
            showing = asyncio.create_task(_show_life(connection), name="migrations-lock")
            try:
                yield
            finally:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)


async def _show_life(connection: asyncpg.Connection) -> None:
    while True:
        await asyncio.sleep(LOCK_SIGN_SECONDS)
        await connection.fetchval("SELECT 1", timeout=CONNECT_TIMEOUT_SECONDS)


async def _take_lock(connection: asyncpg.Connection) -> None:
    """Asks again and again: a statement that waits is a snapshot, and an index built concurrently waits for its end."""
    end = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY, timeout=CONNECT_TIMEOUT_SECONDS):
        if time.monotonic() >= end:
            raise Unavailable("another process is migrating for too long", code="migration-blocked")
        await asyncio.sleep(LOCK_POLL_SECONDS)
