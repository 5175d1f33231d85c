"""The fault proxy of the tests does what its fields say."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from support.toxic import ToxicProxy, toxic
from support.waiting import eventually


@pytest.fixture
def ends() -> list[str]:
    """How connections ended, as upstream saw it."""
    return []


@pytest.fixture
async def proxy(ends: list[str]) -> AsyncIterator[ToxicProxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
            ends.append("closed")
        except ConnectionResetError:
            ends.append("reset")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with toxic("127.0.0.1", server.sockets[0].getsockname()[1]) as made:
        yield made
    server.close()


async def ask(proxy: ToxicProxy, text: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(text)
        return await asyncio.wait_for(reader.readexactly(len(text)), 5)
    finally:
        writer.close()


async def test_without_faults_bytes_pass(proxy: ToxicProxy) -> None:
    assert await ask(proxy, b"x" * 200_000) == b"x" * 200_000


async def test_down_refuses_and_up_serves_on_the_same_port(proxy: ToxicProxy) -> None:
    port = proxy.port
    await proxy.down()
    with pytest.raises(ConnectionRefusedError):
        await ask(proxy)
    await proxy.up()
    assert proxy.port == port
    assert await ask(proxy) == b"hello"


async def test_a_cut_answer_is_a_reset(proxy: ToxicProxy) -> None:
    proxy.cut_after_bytes = 2
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await ask(proxy)


async def die(proxy: ToxicProxy) -> None:
    """A client that vanishes with a reset after it was served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    await reader.readexactly(5)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_upstream_is_told_how_a_client_ended(proxy: ToxicProxy, ends: list[str]) -> None:
    await ask(proxy)
    await eventually(lambda: ends == ["closed"])
    await die(proxy)
    await eventually(lambda: ends == ["closed", "reset"])


async def test_a_stranded_connection_stays_open_upstream_until_it_is_reset(proxy: ToxicProxy, ends: list[str]) -> None:
    proxy.stranding = True
    await die(proxy)
    await ask(proxy)
    proxy.stranding = False
    await ask(proxy)
    await eventually(lambda: ends == ["closed"], what="the end of the last one, and of no other")
    proxy.reset_all()
    await eventually(lambda: ends == ["closed", "reset", "reset"])


async def test_reset_on_accept(proxy: ToxicProxy) -> None:
    proxy.reset_on_accept = True
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await ask(proxy)


async def test_a_blackhole_holds_bytes_back_until_it_ends(proxy: ToxicProxy) -> None:
    proxy.blackhole = True
    asking = asyncio.create_task(ask(proxy))
    await eventually(lambda: proxy.accepted == 1)
    assert not asking.done()
    proxy.blackhole = False
    assert await asking == b"hello"
