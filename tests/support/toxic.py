"""A TCP proxy with faults that can be switched while it runs: latency, blackhole, reset, cut, refusal.

Used between a client and PostgreSQL, Kafka, the simulator or a service. TLS passes through untouched.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class ToxicProxy:
    """Forwards 127.0.0.1:`port` to `host`:`upstream_port`. Set the fields at any time; they act on live traffic."""

    host: str
    upstream_port: int
    port: int = 0
    latency_seconds: float = 0.0
    blackhole: bool = False
    """Bytes are taken and held back until it is switched off."""
    cut_after_bytes: int | None = None
    """Reset every connection once this many bytes came back from upstream: a lost answer."""
    reset_on_accept: bool = False
    stranding: bool = False
    """The end of a client is not passed on: upstream keeps its side open, as when a client's machine loses power.
    Such connections stay after it is switched off, until `reset_all` or `down`."""
    accepted: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def up(self) -> "ToxicProxy":
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def down(self) -> None:
        """Refuse new connections and reset the living ones."""
        server, self._server = self._server, None
        if server:
            server.close()
        self.reset_all()

    def reset_all(self) -> None:
        for writer in tuple(self._writers):
            reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.reset_on_accept:
            reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(self.host, self.upstream_port)
        except OSError:
            reset(writer)
            return
        self._writers |= {writer, up_writer}
        asking = asyncio.create_task(self._ask(reader, up_writer))
        try:
            if await self._pump(up_reader, writer, self):
                _end(writer)
            else:
                reset(writer)
            if await asking:
                with contextlib.suppress(OSError):
                    while await up_reader.read(CHUNK_BYTES):
                        """Nobody is left to take it."""
        finally:
            asking.cancel()
            self._writers -= {writer, up_writer}
            for one in (writer, up_writer):
                one.close()

    async def _ask(self, reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> bool:
        """Pass on what the client sends, and how it ends; True when its end was kept from upstream."""
        whole = await self._pump(reader, up_writer, None)
        if self.stranding:
            return True
        if whole:
            _end(up_writer)
        else:
            reset(up_writer)
        return False

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: "ToxicProxy | None") -> bool:
        """Whether it came to the end; False when a side was reset."""
        passed = 0
        try:
            while data := await reader.read(CHUNK_BYTES):
                while self.blackhole:  # noqa: ASYNC110 - a plain field is simpler to switch in a test
                    await asyncio.sleep(0.02)
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                if cut and self.cut_after_bytes is not None and passed + len(data) > self.cut_after_bytes:
                    writer.write(data[: max(0, self.cut_after_bytes - passed)])
                    await writer.drain()
                    self.reset_all()
                    return False
                passed += len(data)
                writer.write(data)
                await writer.drain()
        except (OSError, RuntimeError):
            return False
        return True


def through(url: str, port: int) -> str:
    """The same database by way of a proxy's port."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))


def _end(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, as a dying peer does."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def toxic(host: str, port: int) -> AsyncIterator[ToxicProxy]:
    """A proxy in front of `host`:`port` for the length of a test."""
    proxy = await ToxicProxy(host, port).up()
    try:
        yield proxy
    finally:
        await proxy.down()
