"""The Graph client on real sockets: what has certainly not left, what may have arrived, and what is not kept.

A wrong answer here costs a second user: "not sent" is repeated without looking.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from graph_adapter.adapters.graph.client import GraphClient
from graph_adapter.domain.progress import LOST, NOT_SENT, Answer, Request

ANSWER = b'{"responses":[{"id":"0","status":204}]}'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """The Graph URL of a server that treats each connection with `serve`, then closes it."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1.0"
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> str:
    """The head of the request, its body read to the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line.partition(":")[2] for line in head.splitlines() if line.startswith("content-length:"))
    await reader.readexactly(int(length))
    return head


def respond(writer: asyncio.StreamWriter, *headers: str) -> None:
    lines = ["HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {len(ANSWER)}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode() + ANSWER)


async def ask(graph: GraphClient, url: str) -> Answer:
    (answer,) = await graph.batch(url, "token", [Request("answer", "POST", "/users", {})])
    return answer


@pytest.fixture
async def graph() -> AsyncIterator[GraphClient]:
    client = GraphClient(ca_file=None, timeout_seconds=10)
    yield client
    await client.close()


async def test_nobody_listens_so_nothing_was_sent(graph: GraphClient) -> None:
    async with listening(lambda _reader, _writer: asyncio.sleep(0)) as url:
        pass
    assert (await ask(graph, url)).status == NOT_SENT


async def test_a_stranger_s_certificate_ends_it_before_anything_is_sent(graph: GraphClient) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"this is not TLS")

    async with listening(no_tls) as url:
        assert (await ask(graph, url.replace("http:", "https:"))).status == NOT_SENT


async def test_neither_a_connection_that_is_never_ready_nor_the_wait_for_it_has_sent_anything() -> None:
    graph, over = GraphClient(ca_file=None, timeout_seconds=0.2, connections_max=1), asyncio.Event()
    async with listening(lambda _reader, _writer: over.wait()) as url:
        answers = await asyncio.gather(*[ask(graph, url.replace("http:", "https:")) for _ in range(2)])
        over.set()
    assert [answer.status for answer in answers] == [NOT_SENT, NOT_SENT]
    await graph.close()


async def test_an_address_of_another_protocol_was_never_asked(graph: GraphClient) -> None:
    assert (await ask(graph, "ftp://127.0.0.1/v1.0")).status == NOT_SENT
    assert (await ask(graph, "http://:80:80/v1.0")).status == NOT_SENT


async def _close(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.transport.abort()


async def _half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


async def _no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"garbage\r\n\r\n")


@pytest.mark.parametrize("serve", [_close, _reset, _half_an_answer, _no_http])
async def test_what_broke_after_the_request_may_have_arrived(graph: GraphClient, serve: Serve) -> None:
    async with listening(serve) as url:
        assert (await ask(graph, url)).status == LOST


async def test_no_answer_in_time_may_have_arrived() -> None:
    graph, over = GraphClient(ca_file=None, timeout_seconds=0.2), asyncio.Event()

    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await over.wait()

    async with listening(silence) as url:
        assert (await ask(graph, url)).status == LOST
        over.set()
    await graph.close()


async def test_a_write_is_sent_once_even_over_a_connection_that_dies_under_it(graph: GraphClient) -> None:
    seen: list[str] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        respond(writer)
        seen.append(await read_request(reader))
        writer.transport.abort()

    async with listening(once) as url:
        assert (await ask(graph, url)).status == 204
        assert (await ask(graph, url)).status == LOST
    assert len(seen) == 2


async def test_one_tenant_s_cookies_are_not_sent_for_the_next(graph: GraphClient) -> None:
    seen: list[str] = []

    async def baker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await read_request(reader))
            respond(writer, "set-cookie: tenant=northwind; Path=/")

    async with listening(baker) as url:
        assert [(await ask(graph, url)).status for _ in range(2)] == [204, 204]
    assert len(seen) == 2
    assert not any("cookie" in head for head in seen)
