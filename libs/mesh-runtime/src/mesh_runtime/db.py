"""The service's own PostgreSQL: a bounded pool, one transaction per use case, and a listener that comes back by itself.

Owns connecting, transaction edges and the translation of transient failures. Refuses SQL: that lives with the tables
it reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from opentelemetry.trace import Span, SpanKind
from pydantic import SecretStr
from sqlalchemy import event, exc, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mesh_runtime import faults, telemetry
from mesh_runtime.errors import MeshError, Unavailable
from mesh_runtime.logs import get_logger

BEFORE_COMMIT = faults.declare("db.before_commit", "all statements are done, the transaction is still open")
AFTER_COMMIT = faults.declare("db.after_commit", "the transaction is durable, nobody was told yet")

CONNECT_TIMEOUT_SECONDS = 5.0
POOL_TIMEOUT_SECONDS = 10.0
STATEMENT_TIMEOUT_SECONDS = 30
# Also ends the transaction of a client that vanished in the middle of a request: to the server it is not idle, and no
# statement runs. Known to PostgreSQL 17 and later.
TRANSACTION_SECONDS = 60
# A machine that lost power is found out in a minute, not after the two hours of most systems: what it had open counts.
KEEPALIVES = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
# On top of the server's own statement timeout: a server that does not even say "too long" is gone.
SILENCE_SECONDS = 5
IDLE_BEFORE_PING_SECONDS = 2.0
PREPARED_STATEMENTS_MAX = 512
LISTEN_BACKOFF_FIRST_SECONDS = 0.1
LISTEN_BACKOFF_MAX_SECONDS = 5.0
LISTEN_PROBE_SECONDS = 30.0

_AT_END = "mesh_runtime.at_end"
_LOST_CONNECTION = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
# The driver believes to be in a transaction that the server does not know: its BEGIN was refused or cancelled.
_CONFUSED_CONNECTION = "25P01"
_CONTENTION = frozenset({"40001", "40P01", "55P03", "57014"})

_UNREACHABLE = (
    ConnectionError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

_log = get_logger("mesh_runtime.db")


class Database:
    """One pool for one database.

    `url` is `postgresql://...` with libpq's parameters (`sslmode`, `sslrootcert`, several hosts). Nothing connects
    before the first use. json and jsonb columns come back parsed (orjson). A transaction that is still open after
    `transaction_timeout_seconds` is ended by the server, which has to be PostgreSQL 17 or later.
    """

    def __init__(
        self,
        url: SecretStr | str,
        *,
        pool_size_max: int = 10,
        application_name: str = "ucmesh",
        statement_timeout_seconds: int = STATEMENT_TIMEOUT_SECONDS,
        transaction_timeout_seconds: int = TRANSACTION_SECONDS,
    ) -> None:
        self._dsn = plain_dsn(url)
        self._server_settings = {
            **KEEPALIVES,
            "application_name": application_name,
            "statement_timeout": str(statement_timeout_seconds * 1000),
            "transaction_timeout": str(transaction_timeout_seconds * 1000),
            # Short statements on arrays never earn back a compilation.
            "jit": "off",
            # What is hot is in memory: a lookup by index is nearly as cheap as the next page, so a few hundred of them
            # are never traded for a scan of a whole table.
            "random_page_cost": "1.1",
        }
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            pool_size=pool_size_max,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            connect_args={
                "dsn": self._dsn,
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "command_timeout": statement_timeout_seconds + SILENCE_SECONDS,
                "server_settings": self._server_settings,
                "prepared_statement_cache_size": PREPARED_STATEMENTS_MAX,
            },
        )
        _ping_after_idle(self.engine)
        _drop_confused(self.engine)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for the block: committed at its end, rolled back on any error (cancellation included).

        Raises Unavailable for lost connections, deadlocks, serialization failures and timeouts. When it is raised
        from the commit itself, whether the transaction was kept is unknown: repeat only what is idempotent.
        """
        with _span("db.transaction"), translated():
            async with self.engine.connect() as connection:
                with _told_at_end(connection) as ended:
                    async with connection.begin():
                        yield connection
                        faults.fault_point(BEFORE_COMMIT)
                    ended.durable = True
                faults.fault_point(AFTER_COMMIT)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction for the block; a write in it is an error of the database."""
        with _span("db.read"), translated():
            async with self.engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                async with connection.begin():
                    yield connection

    async def ping(self) -> None:
        """One round trip; raises Unavailable when the database does not answer."""
        async with self.read() as tx:
            await tx.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Closes all pooled connections; a later use opens new ones."""
        await self.engine.dispose()

    @asynccontextmanager
    async def raw_listen(self, channel: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """LISTENs on `channel` with a dedicated connection while the block runs, reconnecting with backoff.

        `callback` gets each payload, and "" after every (re)connect because notifications may have been missed.
        Entering waits for the first attempt to connect only; a database that is down does not fail the block.
        """
        attempted = asyncio.Event()
        task = asyncio.create_task(self._listen(channel, callback, attempted), name=f"listen-{channel}")
        try:
            await attempted.wait()
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self, channel: str, callback: Callable[[str], None], attempted: asyncio.Event) -> None:
        backoff_seconds = LISTEN_BACKOFF_FIRST_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._listen_once(channel, callback, attempted)
                reason = "closed by the server"
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                reason = f"{type(error).__name__}: {error}"
            attempted.set()
            if time.monotonic() - began > LISTEN_BACKOFF_MAX_SECONDS:
                backoff_seconds = LISTEN_BACKOFF_FIRST_SECONDS
            _log.warning("listen.reconnecting", channel=channel, reason=reason, backoff_seconds=backoff_seconds)
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, LISTEN_BACKOFF_MAX_SECONDS)

    async def _listen_once(self, channel: str, callback: Callable[[str], None], attempted: asyncio.Event) -> None:
        """Listens until the connection ends."""
        settings = {**KEEPALIVES, "application_name": f"{self._server_settings['application_name']}-listen"}
        connection = await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=settings)
        try:
            closed = asyncio.Event()
            connection.add_termination_listener(lambda _connection: closed.set())
            await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: callback(str(payload)))
            attempted.set()
            callback("")
            while not closed.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(closed.wait(), LISTEN_PROBE_SECONDS)
                    return
                # A connection cut by a silent network would otherwise stay open for ever.
                await connection.fetchval("SELECT 1", timeout=CONNECT_TIMEOUT_SECONDS)
        finally:
            connection.terminate()


def at_end(tx: AsyncConnection, call: Callable[[bool], None]) -> None:
    """`call` is told once how the transaction of `Database.transaction` ended: True only when it is known to be
    durable. It must be quick and must not raise.
    """
    tx.info[_AT_END].append(call)


@dataclass(slots=True)
class _End:
    durable: bool = False


@contextmanager
def _told_at_end(connection: AsyncConnection) -> Iterator[_End]:
    calls: list[Callable[[bool], None]] = []
    connection.info[_AT_END] = calls
    ended = _End()
    try:
        yield ended
    finally:
        for call in calls:
            call(ended.durable)


def plain_dsn(url: SecretStr | str) -> str:
    """The URL as asyncpg and libpq read it, whatever SQLAlchemy driver was named in it."""
    value = url.get_secret_value() if isinstance(url, SecretStr) else url
    return value.replace("postgresql+asyncpg://", "postgresql://", 1)


def _span(name: str) -> AbstractContextManager[Span]:
    return telemetry.span(name, kind=SpanKind.CLIENT, attributes={"db.system.name": "postgresql"}, inner=True)


def _ping_after_idle(engine: AsyncEngine) -> None:
    """A connection is checked on checkout only after it lay idle, so a busy pool pays no extra round trips."""
    pool_dialect = engine.sync_engine.dialect

    @event.listens_for(engine.sync_engine, "checkin")
    def _checkin(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def _checkout(connection: Any, record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_in_transaction():
            # Its last transaction could not be ended; no other can begin on it.
            raise exc.DisconnectionError
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic() - idle_since < IDLE_BEFORE_PING_SECONDS:
            return
        try:
            pool_dialect.do_ping(connection)
        except Exception as error:
            raise exc.InvalidatePoolError from error


def _drop_confused(engine: AsyncEngine) -> None:
    """A connection whose driver lost count of its transactions is closed; every later use of it would fail too."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def _handle_error(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == _CONFUSED_CONNECTION:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, False


@contextmanager
def translated() -> Iterator[None]:
    """Unavailable in place of the drivers' errors that pass by waiting."""
    try:
        yield
    except MeshError:
        raise
    except exc.TimeoutError as error:
        raise Unavailable("no database connection became free in time", code="database-busy") from error
    except exc.DBAPIError as error:
        outcome = _outcome(error)
        if outcome is None:
            raise
        raise outcome from error
    except _UNREACHABLE as error:
        raise Unavailable("the database does not answer", code="database-unavailable") from error


def _outcome(error: exc.DBAPIError) -> Unavailable | None:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if error.connection_invalidated or state in _LOST_CONNECTION or state[:2] in {"08", "53"}:
        return Unavailable("the database connection was lost", code="database-unavailable", detail={"sqlstate": state})
    if state in _CONTENTION:
        return Unavailable("the database asked to try again", code="database-contention", detail={"sqlstate": state})
    return None
