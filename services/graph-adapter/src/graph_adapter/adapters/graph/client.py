"""Microsoft Graph over HTTP: the only module of this service that imports an HTTP client for it.

Owns the `$batch` envelope and the sorting of what went wrong on the way: not sent, or nobody knows. Refuses to
raise for any of it, to retry, and to follow redirects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from graph_adapter.domain.progress import LOST, NOT_SENT, Answer, Request
from mesh_runtime.outgoing import client_tls

CONNECT_TIMEOUT_SECONDS = 5.0
RETRY_AFTER_SECONDS_MAX = 3600.0
KEEPALIVE_SECONDS = 5.0

_JSON = {"Content-Type": "application/json"}
# These end before a request has left; everything else may have reached Microsoft.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


class GraphClient:
    """Implements the port `Graph`. One pool for all tenants of a cloud, hence no cookies; the caller closes it.
    HTTP/1.1: `$batch` is what carries many requests at once.
    """

    def __init__(self, *, ca_file: Path | None, timeout_seconds: float = 30.0, connections_max: int = 100) -> None:
        self._tls = client_tls(ca_file)
        self._timeout = aiohttp.ClientTimeout(
            connect=timeout_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=timeout_seconds
        )
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    async def batch(self, graph_url: str, token: str, requests: Sequence[Request]) -> Sequence[Answer]:
        body = orjson.dumps({"requests": [_item(index, request) for index, request in enumerate(requests)]})
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "client-request-id": str(uuid4()),
            "return-client-request-id": "true",
        }
        call = self._opened().post(f"{graph_url}/$batch", data=body, headers=headers, allow_redirects=False)
        try:
            async with call as response:
                return answers(response.status, response.headers, await response.read(), len(requests))
        except (aiohttp.ClientError, OSError) as error:
            return [Answer(NOT_SENT if isinstance(error, _NOT_SENT) else LOST)] * len(requests)

    def _opened(self) -> aiohttp.ClientSession:
        """The session belongs to the loop that first asks. It repeats no POST by itself."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls, limit=self._connections_max, keepalive_timeout=KEEPALIVE_SECONDS
                ),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def _item(index: int, request: Request) -> dict[str, Any]:
    item: dict[str, Any] = {"id": str(index), "method": request.method, "url": request.url}
    if request.body is not None:
        item["headers"] = _JSON
        item["body"] = request.body
    return item


def answers(status: int, outer: Mapping[str, str], content: bytes, count: int) -> list[Answer]:
    """Of the `count` requests of a call, in their order; `outer` are the headers of the whole answer."""
    request_id = outer.get("request-id")
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    if status != 200:
        return [Answer(status, body, request_id, retry_after_seconds(outer.get("Retry-After")))] * count
    found = [Answer(LOST, None, request_id)] * count
    responses = body.get("responses") if isinstance(body, dict) else None
    for item in responses or ():
        index = int(item["id"]) if isinstance(item, dict) and str(item.get("id")).isdigit() else count
        if index < count and isinstance(item.get("status"), int):
            found[index] = _answer(item, request_id)
    return found


def _answer(item: Mapping[str, Any], outer_request_id: str | None) -> Answer:
    headers, body = item.get("headers") or {}, item.get("body")
    request_id = retry_after = None
    for name, value in headers.items():
        lowered = name.lower()
        if lowered == "request-id":
            request_id = value
        elif lowered == "retry-after":
            retry_after = retry_after_seconds(value)
    if request_id is None and item["status"] >= 400:
        request_id = _inner_request_id(body)
    return Answer(item["status"], body, request_id or outer_request_id, retry_after)


def _inner_request_id(body: Any) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    inner = (error.get("innerError") or error.get("innererror")) if isinstance(error, dict) else None
    found = inner.get("request-id") if isinstance(inner, dict) else None
    return str(found) if found else None


def retry_after_seconds(value: Any) -> float | None:
    """Seconds, rounded up (fractions were seen in `$batch`) and bounded; None when it is not a number."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(float(math.ceil(seconds)), RETRY_AFTER_SECONDS_MAX)
