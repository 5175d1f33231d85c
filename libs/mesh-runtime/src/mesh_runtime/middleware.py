"""What happens around every request: who is let in, limits on the body, metrics, and no exception past this point.

Owns the ASGI layer below the routes; the request's span is FastAPI's own. Refuses request bodies beyond the limit
without reading them to the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mesh_runtime import telemetry
from mesh_runtime.auth import BEARER_REMEDY, Verifier
from mesh_runtime.errors import MeshError, TooLarge, Unauthenticated, Unavailable
from mesh_runtime.health import Health
from mesh_runtime.logs import get_logger
from mesh_runtime.problems import internal_error_response, mesh_error_response

BODY_BYTES_MAX = 8 * 1024 * 1024
OPEN_PREFIX = "/health/"

REQUESTS = Counter("ucmesh_http_requests_total", "HTTP requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "ucmesh_http_request_seconds",
    "Time to answer an HTTP request",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HARDENING = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

_log = get_logger("mesh_runtime.http")


class RequestScope:
    """Outermost layer: metrics, hardening headers; unknown exceptions become a logged 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        began = time.perf_counter()
        with _callers_context(scope):
            status = await self._answer(scope, receive, send)
        route = _route(scope)
        REQUESTS.labels(method, route, str(status)).inc()
        SECONDS.labels(method, route).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Runs the app and returns the status that was sent."""
        status: int | None = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HARDENING]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            _log.exception("http.crashed", method=scope["method"], route=_route(scope))
            if status is not None:
                raise
            await internal_error_response(scope["path"])(scope, receive, sending)
        return status or 500


class BodyLimit:
    """Answers 413 by the declared length, or stops reading when more than the limit arrives."""

    def __init__(self, app: ASGIApp, bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = TooLarge(f"the body may have at most {self._bytes_max} bytes", detail={"bytes_max": self._bytes_max})
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._bytes_max:
            await mesh_error_response(scope["path"], error)(scope, receive, send)
            return
        received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._bytes_max:
                raise error
            return message

        await self._app(scope, receiving, send)


def _route(scope: Scope) -> str:
    """The route's template; never the path itself, which would make one metric per id."""
    return str(getattr(scope.get("route"), "path_format", "unmatched"))


class Gate:
    """Lets nobody past without a valid bearer token, before a byte of the body is read, nor while the process is
    starting; health is open.
    """

    def __init__(self, app: ASGIApp, verifier: Verifier, health: Health) -> None:
        self._app = app
        self._verifier = verifier
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OPEN_PREFIX):
            await self._app(scope, receive, send)
            return
        try:
            if self._health.is_starting:
                raise Unavailable("this process is starting", code="starting")
            principal = await self._verifier.verify(_bearer(scope))
        except MeshError as error:
            response = mesh_error_response(scope["path"], error)
            if any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
                response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


def _bearer(scope: Scope) -> str:
    value = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("a bearer token is required", remedy=BEARER_REMEDY)
    return str(token.strip())


@contextmanager
def _callers_context(scope: Scope) -> Iterator[None]:
    """Passes the caller's trace on when this process makes no spans itself."""
    if telemetry.enabled():
        yield
        return
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }
    if not headers:
        yield
        return
    token = context.attach(telemetry.context_from(headers))
    try:
        yield
    finally:
        context.detach(token)
