"""Every error as a problem document (RFC 9457), so callers handle one shape.

Owns the mapping from exceptions to responses. Refuses to leak: unknown exceptions answer 500 without their text,
validation errors come without the offending values.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from opentelemetry import trace
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mesh_runtime.errors import Forbidden, MeshError, TooLarge, Unauthenticated
from mesh_runtime.logs import get_logger

MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 100
RETRY_AFTER_SECONDS = 5

_log = get_logger("mesh_runtime.problems")


class ProblemError(BaseModel):
    """One thing wrong with the request."""

    location: str = Field(description="Where: body, query, path or header, then a JSON pointer")
    message: str
    type: str


class Problem(BaseModel):
    """A problem document (RFC 9457) with a stable `code` and, where there is one, a `remedy`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    instance: str
    remedy: str | None = None
    trace_id: str | None = None
    errors: list[ProblemError] = Field(default_factory=list)


class ProblemResponse(Response):
    """A problem document on the wire."""

    media_type = MEDIA_TYPE


def problem_response(
    path: str,
    *,
    status: int,
    title: str,
    detail: str,
    code: str,
    retryable: bool = False,
    remedy: str | None = None,
    errors: Sequence[dict[str, str]] = (),
    extra: dict[str, object] | None = None,
    headers: dict[str, str] | None = None,
) -> ProblemResponse:
    """Builds the response; `path` becomes `instance`, `extra` the member `context`."""
    document: dict[str, object] = {
        "type": f"urn:ucmesh:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "retryable": retryable,
        "instance": path,
        "errors": list(errors),
    }
    if remedy is not None:
        document["remedy"] = remedy
    if extra:
        document["context"] = extra
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        document["trace_id"] = format(context.trace_id, "032x")
    return ProblemResponse(orjson.dumps(document, default=str), status_code=status, headers=headers)


def mesh_error_response(path: str, error: MeshError) -> ProblemResponse:
    """The response of a MeshError; status by its class."""
    return problem_response(
        path,
        status=error.status,
        title=error.title,
        detail=error.message,
        code=error.code,
        retryable=error.retryable,
        remedy=error.remedy,
        extra=error.detail,
        headers=_headers(error),
    )


def internal_error_response(path: str) -> ProblemResponse:
    """The response when we do not know what went wrong; the log does, under the same trace id."""
    return mesh_error_response(path, MeshError("Something went wrong here; the log has the details."))


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.add_exception_handler(MeshError, _on_mesh_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_mesh_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MeshError)
    if error.status >= 500:
        _log.warning("http.failed", path=request.url.path, code=error.code, reason=error.message)
    return mesh_error_response(request.url.path, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_validation_entry(entry) for entry in error.errors()[:ERRORS_MAX]]
    return problem_response(
        request.url.path,
        status=422,
        title="Invalid input",
        detail=f"{len(errors)} part{'s' if len(errors) != 1 else ''} of the request cannot be accepted.",
        code="invalid-input",
        errors=errors,
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    # FastAPI wraps whatever the body reader raised; ours says more.
    if isinstance(error.__cause__, MeshError):
        return mesh_error_response(request.url.path, error.__cause__)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    phrase = HTTPStatus(error.status_code).phrase
    return problem_response(
        request.url.path,
        status=error.status_code,
        title=phrase.capitalize(),
        detail=error.detail if isinstance(error.detail, str) else phrase,
        code=phrase.lower().replace(" ", "-"),
        headers=headers,
    )


def _validation_entry(entry: dict[str, Any]) -> dict[str, str]:
    where, *path = [str(part).replace("~", "~0").replace("/", "~1") for part in entry["loc"]] or ["body"]
    return {"location": "/".join([where, *path]), "message": str(entry["msg"]), "type": str(entry["type"])}


def _allowed_methods(request: Request) -> list[str]:
    """All methods of the path; the router names only those of the first matching route."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(request.url.path):
            methods |= route.methods or set()
    return sorted(methods)


def _headers(error: MeshError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        reason = ', error="invalid_token"' if error.code.startswith("token-") else ""
        return {"WWW-Authenticate": f'Bearer realm="ucmesh"{reason}'}
    if isinstance(error, Forbidden) and error.code == "scope-missing":
        missing = error.detail.get("missing")
        scope = " ".join(str(name) for name in missing) if isinstance(missing, list) else ""
        return {"WWW-Authenticate": f'Bearer realm="ucmesh", error="insufficient_scope", scope="{scope}"'}
    if isinstance(error, TooLarge):
        # The rest of the body may be endless: nobody reads it.
        return {"Connection": "close"}
    if error.status == 503:
        seconds = error.detail.get("retry_after_seconds", RETRY_AFTER_SECONDS)
        return {"Retry-After": str(seconds)}
    return {}
