"""The few ASGI pieces the faces share: reading a request, writing JSON, dropping a connection. Owns no routes and no
rules. Raw ASGI rather than a framework, because the Graph face is measured in requests per second."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_MAX_BYTES = 4 * 1024 * 1024


class BodyTooLargeError(Exception):
    """The request body passes BODY_MAX_BYTES."""


async def read_body(receive: Receive) -> bytes:
    """Raises BodyTooLargeError; returns what came so far when the client went away."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MAX_BYTES:
            raise BodyTooLargeError
    return b"".join(parts)


def headers_of(scope: Scope) -> dict[str, str]:
    """Lower-case names; the last of repeated headers wins."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def origin_of(headers: Mapping[str, str]) -> str:
    return f"https://{headers.get('host', 'localhost')}"


async def send_json(send: Send, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    """`body` None sends no body (204, 202)."""
    content = b"" if body is None else orjson.dumps(body)
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    if content:
        raw.append((b"content-type", b"application/json; charset=utf-8"))
    if status != 204:
        raw.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


async def drop_connection(receive: Receive, send: Send) -> None:
    """Closes the socket without an answer, as a lost connection looks to the client. Works on uvicorn's own send
    callable and falls back to a broken answer elsewhere."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        return
    transport.abort()
    async with asyncio.timeout(5):
        while (await receive()).get("type") != "http.disconnect":
            pass
