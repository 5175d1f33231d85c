"""Transactions as the use cases see them.

Owns joining the tables of one transaction. Refuses commits of its own: leaving the block commits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter import wire
from graph_adapter.adapters.db.credentials import CredentialTable
from graph_adapter.adapters.db.operations import OperationTable
from graph_adapter.adapters.db.tenants import TenantTable
from graph_adapter.adapters.outbox import OutboxReplies
from graph_adapter.domain.operation import Reply
from graph_adapter.domain.ports import Observer
from mesh_runtime.clock import Clock, IdGenerator
from mesh_runtime.db import Database, at_end


class UnitOfWork:
    """Implements the port `Unit` on an open transaction."""

    def __init__(self, tx: AsyncConnection, observer: Observer, ids: IdGenerator, clock: Clock) -> None:
        self._tx = tx
        encode = _once(wire.completed)
        self.operations = OperationTable(tx, encode)
        self.tenants = TenantTable(tx)
        self.credentials = CredentialTable(tx)
        self.replies = OutboxReplies(tx, encode, observer, ids, clock)

    def at_end(self, call: Callable[[bool], None]) -> None:
        """`call` is told how the transaction ended."""
        at_end(self._tx, call)


class DatabaseStore:
    """Implements the port `Store`."""

    def __init__(self, db: Database, observer: Observer, ids: IdGenerator, clock: Clock) -> None:
        self._db = db
        self._observer = observer
        self._ids = ids
        self._clock = clock

    def on(self, tx: AsyncConnection) -> UnitOfWork:
        """A unit on a transaction that somebody else opened and commits (the consumer)."""
        return UnitOfWork(tx, self._observer, self._ids, self._clock)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._db.transaction() as tx:
            yield self.on(tx)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        async with self._db.read() as tx:
            yield self.on(tx)


def _once(encode: Callable[[Reply], wire.Completed]) -> Callable[[Reply], wire.Completed]:
    """A reply is stored and sent: its JSON is made once."""
    made: dict[int, wire.Completed] = {}

    def run(reply: Reply) -> wire.Completed:
        key = id(reply)
        if key not in made:
            made[key] = encode(reply)
        return made[key]

    return run
