"""The HTTP face every service shares: one app factory with access, limits, problem documents, health and metrics.

Owns everything around the routers. Refuses unauthenticated access to anything but health.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mesh_runtime import draining, problems
from mesh_runtime.auth import Verifier, require
from mesh_runtime.health import Health
from mesh_runtime.middleware import BODY_BYTES_MAX, BodyLimit, Gate, RequestScope
from mesh_runtime.server import Server

__all__ = ["Server", "create_app"]

_PROBLEM = {"model": problems.Problem, "content": {problems.MEDIA_TYPE: {}}}
_COMMON_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {**_PROBLEM, "description": "No valid bearer token"},
    403: {**_PROBLEM, "description": "The token lacks a scope"},
    422: {**_PROBLEM, "description": "The request cannot be accepted"},
    503: {**_PROBLEM, "description": "A part this depends on does not answer; try again"},
}


def create_app(
    *,
    title: str,
    version: str,
    description: str,
    verifier: Verifier,
    health: Health,
    routers: Sequence[APIRouter],
    body_bytes_max: int = BODY_BYTES_MAX,
) -> FastAPI:
    """A FastAPI app with `routers`, and with /health/{live,ready,startup} open, /metrics, /openapi.json and /docs
    behind a bearer token.

    Nobody gets to a route without a valid token; what it allows there is the route's `Depends(require(...))`. Every
    error is a problem document (RFC 9457).
    """
    app = FastAPI(
        title=title,
        version=version,
        description=description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        responses=_COMMON_RESPONSES,
        telemetry={"tracing": True, "operation_spans": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    problems.install(app)
    app.include_router(_health_router(health))
    app.include_router(_operator_router(app))
    app.include_router(draining.router(health.drain))
    for router in routers:
        app.include_router(router)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, bytes_max=body_bytes_max)
    app.add_middleware(Gate, verifier=verifier, health=health)
    app.add_middleware(RequestScope)
    return app


def _health_router(health: Health) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", summary="The process runs")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/startup", summary="The process has started up")
    async def startup(response: Response) -> dict[str, str]:
        if not health.is_started:
            response.status_code = 503
            return {"status": "starting"}
        return {"status": "started"}

    @router.get("/ready", summary="The process can work")
    async def ready(response: Response) -> dict[str, Any]:
        if health.is_stopping:
            response.status_code = 503
            return {"status": "stopping", "checks": {}}
        checks = await health.ready()
        is_ready = health.is_started and all(verdict == "ok" for verdict in checks.values())
        if not is_ready:
            response.status_code = 503
        return {"status": "ready" if is_ready else "not ready", "checks": checks}

    return router


def _operator_router(app: FastAPI) -> APIRouter:
    router = APIRouter(dependencies=[Depends(require())], include_in_schema=False)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(app.openapi())

    @router.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(_reference(app.openapi()))

    return router


def _reference(document: dict[str, Any]) -> str:
    """The API as one plain page: no scripts and nothing loaded from elsewhere."""
    rows = []
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            summary = operation.get("summary", "")
            cells = (method.upper(), path, summary, operation.get("description", ""))
            rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    info = document["info"]
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(info['title'])}</title>"
        "<style>body{font:16px sans-serif;margin:2rem}td{padding:.3rem .8rem;vertical-align:top}</style>"
        f"<h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1><p>{html.escape(info['description'])}</p>"
        f"<p>Machine-readable: <a href='openapi.json'>openapi.json</a></p><table>{''.join(rows)}</table></html>"
    )
