"""The trace store of the embedded stack: takes OTLP over HTTP, answers in the JSON shape of Jaeger's query API.

Owns: `POST /v1/traces` (an ingest token) and `GET /api/traces[/{id}]`, `GET /api/services` (scope mesh.read), and one
SQLite file of at most SPANS_MAX spans. Refuses: metrics and logs. Elsewhere an operator names a collector of their own.
"""

import argparse
import hmac
import zlib
from pathlib import Path

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ucmesh_embedded.trace_store import SPANS_MAX, Search, TraceStore, spans_of
from ucmesh_embedded.web import BearerCheck, application, bearer, json_response, serve, unauthenticated

BODY_BYTES_MAX = 16 * 1024 * 1024
LIMIT_DEFAULT, LIMIT_MAX = 20, 200


def create_app(store: TraceStore, check: BearerCheck, ingest_token: str) -> Starlette:
    async def export(request: Request) -> Response:
        if not hmac.compare_digest(bearer(request).encode(), ingest_token.encode()):
            raise unauthenticated("The token is not the ingest token.")
        try:
            store.add(spans_of(ExportTraceServiceRequest.FromString(_inflated(request, await _body(request)))))
        except (DecodeError, OSError, EOFError, zlib.error) as error:
            raise HTTPException(400, "The body is not an OTLP trace export.") from error
        return Response(ExportTraceServiceResponse().SerializeToString(), media_type="application/x-protobuf")

    async def one(request: Request) -> Response:
        check.require(request, "mesh.read")
        trace_id = request.path_params["trace_id"].lower().zfill(32)
        found = store.trace(trace_id)
        if not found:
            raise HTTPException(404, f"No trace {trace_id}.")
        return json_response(_answer([_jaeger(trace_id, found)]))

    async def search(request: Request) -> Response:
        check.require(request, "mesh.read")
        found = store.search(_search(request))
        return json_response(_answer([_jaeger(trace_id, store.trace(trace_id)) for trace_id in found]))

    async def services(request: Request) -> Response:
        check.require(request, "mesh.read")
        return json_response(_answer(store.services()))

    return application(
        [
            Route("/v1/traces", export, methods=["POST"]),
            Route("/api/traces", search),
            Route("/api/traces/{trace_id:str}", one),
            Route("/api/services", services),
        ]
    )


async def _body(request: Request) -> bytes:
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise HTTPException(413, f"More than {BODY_BYTES_MAX} bytes.")
        parts.append(part)
    return b"".join(parts)


def _inflated(request: Request, body: bytes) -> bytes:
    if request.headers.get("content-encoding") != "gzip":
        return body
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    data = inflater.decompress(body, BODY_BYTES_MAX)
    if inflater.unconsumed_tail:
        raise HTTPException(413, f"More than {BODY_BYTES_MAX} bytes.")
    return data


def _search(request: Request) -> Search:
    """`service`, `operation`, `tag=key:value` (repeatable) or `tags={json}`, `start`/`end` (microseconds), `limit`."""
    given = request.query_params
    tags = dict(pair.split(":", 1) for pair in given.getlist("tag") if ":" in pair)
    try:
        tags |= {str(key): str(value) for key, value in orjson.loads(given.get("tags", "{}")).items()}
        limit = min(max(int(given.get("limit", LIMIT_DEFAULT)), 1), LIMIT_MAX)
        start = int(given["start"]) if "start" in given else None
        end = int(given["end"]) if "end" in given else None
    except (ValueError, AttributeError) as error:
        raise HTTPException(422, f"The query cannot be read: {error}") from error
    return Search(given.get("service"), given.get("operation"), tags, start, end, limit)


def _jaeger(trace_id: str, spans: list[dict[str, object]]) -> dict[str, object]:
    """Jaeger's trace object; processes are numbered in the order they appear."""
    processes: dict[str, dict[str, object]] = {}
    numbers: dict[bytes, str] = {}
    for span in spans:
        process = span.pop("process")
        number = numbers.setdefault(orjson.dumps(process), f"p{len(numbers) + 1}")
        processes[number] = process  # type: ignore[assignment]
        span["processID"] = number
    return {"traceID": trace_id, "spans": spans, "processes": processes, "warnings": None}


def _answer(data: list[object] | list[dict[str, object]] | list[str]) -> dict[str, object]:
    return {"data": data, "total": len(data), "limit": 0, "offset": 0, "errors": None}


def main() -> None:
    arguments = argparse.ArgumentParser(prog="ucmesh_embedded.traces")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--file", type=Path, required=True)
    arguments.add_argument("--issuer", required=True)
    arguments.add_argument("--issuer-key-file", type=Path, required=True)
    arguments.add_argument("--ingest-token-file", type=Path, required=True)
    given = arguments.parse_args()
    store = TraceStore(given.file, spans_max=SPANS_MAX)
    check = BearerCheck(given.issuer, given.issuer_key_file)
    serve(create_app(store, check, given.ingest_token_file.read_text()), given.port)


if __name__ == "__main__":
    main()
