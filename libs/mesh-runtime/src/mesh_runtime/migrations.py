"""Schema migrations: every process may ask for them at start, exactly one runs them.

Owns the lock around Alembic and the one-line env.py of the services. Refuses to wait for ever: both the lock and
every DDL statement give up in bounded time.

A package keeps `<package>/migrations/env.py` with `from mesh_runtime.migrations import run_env; run_env()` and its
revisions in `<package>/migrations/versions/`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, exc, pool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mesh_runtime.db import CONNECT_TIMEOUT_SECONDS, plain_dsn
from mesh_runtime.errors import Unavailable
from mesh_runtime.logs import get_logger

LOCK_KEY = 0x75636D657368
LOCK_TIMEOUT_SECONDS = 120
DDL_LOCK_TIMEOUT_SECONDS = 5
DDL_ATTEMPTS_MAX = 5
DDL_RETRY_SECONDS = 1.0

_log = get_logger("mesh_runtime.migrations")
# Alembic's context is one global per process, so two migrations in one event loop must not interleave.
_alembic_turn: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


async def upgrade(url: SecretStr | str, package: str) -> None:
    """Brings the database at `url` to the head of `package`'s migrations; returns at once when it is there.

    Safe to call from many processes at the same moment. Raises Unavailable when the turn does not come within
    LOCK_TIMEOUT_SECONDS or a table stays locked by others.
    """
    async with _turn(), _locked(url):
        for attempt in range(1, DDL_ATTEMPTS_MAX + 1):
            try:
                await _run(url, package)
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


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _engine(url: SecretStr | str) -> AsyncEngine:
    connect_args = {
        "dsn": plain_dsn(url),
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "server_settings": {"application_name": "ucmesh-migrations", "lock_timeout": f"{DDL_LOCK_TIMEOUT_SECONDS}s"},
    }
    return create_async_engine("postgresql+asyncpg://", poolclass=pool.NullPool, connect_args=connect_args)


async def _run(url: SecretStr | str, package: str) -> None:
    config = _config(package)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

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
    settings = {"application_name": "ucmesh-migrations-lock", "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s"}
    try:
        connection = await asyncpg.connect(plain_dsn(url), timeout=CONNECT_TIMEOUT_SECONDS, server_settings=settings)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
        raise Unavailable("the database does not answer", code="database-unavailable") from error
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY, timeout=LOCK_TIMEOUT_SECONDS + 10)
        yield
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable("another process is migrating for too long", code="migration-blocked") from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)
