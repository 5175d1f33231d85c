"""Proxies that read what passes and fail one request of it: a statement to PostgreSQL, a publish to Kafka, a call to
the simulated tenant.

A request has a `who` (the database's role, Kafka's client id, "tenant") and a `what` (the statement, "publish",
"call"). The n-th one that matches what is armed fails once, in one of these ways:

    before    the connection is reset, the request was not passed on
    after     the request was carried out, its answer is lost and the connection reset
    refused   PostgreSQL answers "serialization failure" (statements only); the connection stays
"""

import asyncio
import contextlib
import ssl
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from support.toxic import CHUNK_BYTES, reset

How = Literal["before", "after", "refused"]
PRODUCE = 0
_NO_SSL = (80877103, 80877104)
_REFUSED = {b"C34000\0": b"C40001\0", b"C42601\0": b"C40001\0"}


@dataclass(frozen=True, slots=True)
class Point:
    """Where to fail: the `n`-th time that `who` does `what`."""

    who: str
    what: str
    n: int
    how: How

    def __str__(self) -> str:
        return f"{self.who}, time {self.n}, {self.how}: {self.what}"


@dataclass(slots=True)
class Trip:
    """What all wires share: the one point that is armed, and the counts since then."""

    point: Point | None = None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    tripped: bool = False

    def arm(self, point: Point | None) -> None:
        self.point, self.tripped = point, False
        self.seen.clear()

    def passing(self, who: str, what: str) -> How | None:
        """Count one request; how it shall fail, if it shall."""
        self.seen[who, what] += 1
        point = self.point
        if point is None or (point.who, point.what) != (who, what) or self.seen[who, what] != point.n:
            return None
        self.tripped = True
        return point.how


class Lost(Exception):  # noqa: N818
    """This connection ends here, on both sides."""


@dataclass(slots=True)
class Ends:
    """Both ends of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    up_reader: asyncio.StreamReader
    up_writer: asyncio.StreamWriter


class Connection:
    """Reads what passes over one connection; the kinds differ in the protocol."""

    def __init__(self, trip: Trip) -> None:
        self.trip = trip

    async def asking(self, ends: Ends) -> None:
        """Pass on requests until the client ends. Raises Lost."""
        raise NotImplementedError

    async def answering(self, ends: Ends) -> None:
        """Pass on answers until the server ends. Raises Lost."""
        raise NotImplementedError


@dataclass(slots=True)
class Wire:
    """A proxy in front of 127.0.0.1:`upstream_port`; with `tls`, it ends TLS towards both sides."""

    trip: Trip
    kind: type[Connection]
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
    port: int = 0
    upstream_port: int = 0
    _server: asyncio.Server | None = None

    async def up(self) -> None:
        serving = self.tls[0] if self.tls else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=serving)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asking = self.tls[1] if self.tls else None
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port, ssl=asking)
        except OSError:
            reset(writer)
            return
        ends, one = Ends(reader, writer, *upstream), self.kind(self.trip)
        tasks = [asyncio.create_task(one.asking(ends)), asyncio.create_task(one.answering(ends))]
        lost = False
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            lost = any(isinstance(task.exception(), Lost) for task in done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in (writer, ends.up_writer):
                if lost:
                    reset(each)
                else:
                    each.close()


class PostgresConnection(Connection):
    """Reads the frontend's messages of protocol version 3."""

    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)
        self._who = ""
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, bytes] = {}
        self._failing: How | None = None

    async def asking(self, ends: Ends) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await self._greet(ends)
            while True:
                kind = await ends.reader.readexactly(1)
                (length,) = struct.unpack("!i", await ends.reader.readexactly(4))
                body = await ends.reader.readexactly(length - 4)
                body = self._read(kind, body)
                ends.up_writer.write(kind + struct.pack("!i", len(body) + 4) + body)
                await ends.up_writer.drain()

    async def answering(self, ends: Ends) -> None:
        with contextlib.suppress(OSError):
            while data := await ends.up_reader.read(CHUNK_BYTES):
                if self._failing == "after":
                    raise Lost
                if self._failing == "refused":
                    self._failing = None
                    for code, other in _REFUSED.items():
                        data = data.replace(code, other)
                ends.writer.write(data)
                await ends.writer.drain()

    async def _greet(self, ends: Ends) -> None:
        while True:
            head = await ends.reader.readexactly(8)
            length, code = struct.unpack("!ii", head)
            rest = await ends.reader.readexactly(length - 8)
            ends.up_writer.write(head + rest)
            if code not in _NO_SSL:
                fields = rest.split(b"\0")
                self._who = fields[fields.index(b"user") + 1].decode()
                return

    def _read(self, kind: bytes, body: bytes) -> bytes:
        """Notes what belongs to a statement and fails it if it is its turn; the body to pass on."""
        if kind == b"P":
            name, statement, _ = body.split(b"\0", 2)
            self._statements[name] = statement.decode()
        elif kind == b"B":
            portal, name, _ = body.split(b"\0", 2)
            self._portals[portal] = name
        elif kind == b"E":
            statement = self._statements.get(self._portals.get(body.split(b"\0", 1)[0], b""), "")
            return self._passing(statement, body, b"nth" + body[body.index(b"\0") :])
        elif kind == b"Q":
            return self._passing(body.rstrip(b"\0").decode(), body, b"nth failure\0")
        return body

    def _passing(self, statement: str, body: bytes, broken: bytes) -> bytes:
        how = self.trip.passing(self._who, " ".join(statement.split()))
        if how is None:
            return body
        if how == "before":
            raise Lost
        self._failing = how
        return broken if how == "refused" else body


class KafkaConnection(Connection):
    """Reads the heads of Kafka's frames."""

    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)
        self._lost: int | None = None

    async def asking(self, ends: Ends) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = await _frame(ends.reader)
                key, _, correlation, length = struct.unpack_from("!hhih", frame, 4)
                if key == PRODUCE:
                    how = self.trip.passing(frame[14 : 14 + max(length, 0)].decode(), "publish")
                    if how == "before":
                        raise Lost
                    if how == "after":
                        self._lost = correlation
                ends.up_writer.write(frame)
                await ends.up_writer.drain()

    async def answering(self, ends: Ends) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = await _frame(ends.up_reader)
                if struct.unpack_from("!i", frame, 4)[0] == self._lost:
                    raise Lost
                ends.writer.write(frame)
                await ends.writer.drain()


class HttpConnection(Connection):
    """A request begins with the first bytes after an answer."""

    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)
        self._asked = False
        self._losing = False

    async def asking(self, ends: Ends) -> None:
        with contextlib.suppress(OSError):
            while data := await ends.reader.read(CHUNK_BYTES):
                if not self._asked:
                    self._asked = True
                    how = self.trip.passing("tenant", "call")
                    if how == "before":
                        raise Lost
                    self._losing = how == "after"
                ends.up_writer.write(data)
                await ends.up_writer.drain()

    async def answering(self, ends: Ends) -> None:
        with contextlib.suppress(OSError):
            while data := await ends.up_reader.read(CHUNK_BYTES):
                if self._losing:
                    raise Lost
                self._asked = False
                ends.writer.write(data)
                await ends.writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("!i", head)[0])
