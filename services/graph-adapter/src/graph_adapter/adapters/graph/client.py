"""Microsoft Graph over HTTP: the only module of this service that imports an HTTP client for it.

Owns the `$batch` envelope and the sorting of what went wrong on the way: not sent, or nobody knows. Refuses to
raise for any of it, to retry, and to follow redirects.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from graph_adapter.domain.progress import LOST, NOT_SENT, Answer, Request
from mesh_runtime.outgoing import client_tls

CONNECT_TIMEOUT_SECONDS = 5.0
RETRY_AFTER_SECONDS_MAX = 3600.0
KEEPALIVE_SECONDS = 5.0

_JSON = {"Content-Type": "application/json"}
# These end before a request has left; everything else may have reached Microsoft.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.NonHttpUrlClientError)


class GraphClient:
    """Implements the port `Graph`. One pool for all tenants of a cloud, hence no cookies; the caller closes it."""

    def __init__(
        self,
        *,
        ca_file: Path | None,
        timeout_seconds: float = 30.0,
        connections_max: int = 100,
        http2: bool = False,
    ) -> None:
        tls = client_tls(ca_file)
        self._http = httpx.AsyncClient(
            transport=None if http2 else _transport(tls, connections_max),
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            http2=http2,
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS, pool=timeout_seconds),
            limits=httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def batch(self, graph_url: str, token: str, requests: Sequence[Request]) -> Sequence[Answer]:
        body = orjson.dumps({"requests": [_item(index, request) for index, request in enumerate(requests)]})
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "client-request-id": str(uuid4()),
            "return-client-request-id": "true",
        }
        try:
            response = await self._http.post(f"{graph_url}/$batch", content=body, headers=headers)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            return [Answer(NOT_SENT if _never_left(error) else LOST)] * len(requests)
        return _answers(response, len(requests))


def _transport(tls: ssl.SSLContext, connections_max: int) -> httpx.AsyncBaseTransport:
    """HTTP/1.1 by aiohttp: a call costs a third of what httpx's own transport takes. It repeats no POST by itself."""

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=tls, limit=connections_max, keepalive_timeout=KEEPALIVE_SECONDS)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    return AiohttpTransport(client=session)


def _never_left(error: Exception) -> bool:
    """Whether Microsoft cannot have seen the request. What aiohttp says is decisive: its transport reports a connection
    that broke later as ConnectTimeout too.
    """
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return isinstance(cause, _NOT_CONNECTED)
    return isinstance(error, _NOT_SENT)


def _item(index: int, request: Request) -> dict[str, Any]:
    item: dict[str, Any] = {"id": str(index), "method": request.method, "url": request.url}
    if request.body is not None:
        item["headers"] = _JSON
        item["body"] = request.body
    return item


def _answers(response: httpx.Response, count: int) -> list[Answer]:
    request_id = response.headers.get("request-id")
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    if response.status_code != 200:
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        return [Answer(response.status_code, body, request_id, retry_after)] * count
    answers = [Answer(LOST, None, request_id)] * count
    responses = body.get("responses") if isinstance(body, dict) else None
    for item in responses or ():
        index = int(item["id"]) if isinstance(item, dict) and str(item.get("id")).isdigit() else count
        if index < count and isinstance(item.get("status"), int):
            answers[index] = _answer(item, request_id)
    return answers


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
