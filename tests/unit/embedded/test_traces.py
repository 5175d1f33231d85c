"""The trace store: OTLP in, Jaeger's JSON out, bounded, bearer-protected."""

import gzip
import time
from pathlib import Path

import orjson
import pytest
from httpx import ASGITransport, AsyncClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from ucmesh_embedded.trace_store import Search, TraceStore, spans_of
from ucmesh_embedded.traces import create_app
from ucmesh_embedded.web import BearerCheck

URL = "http://127.0.0.1:9"
INGEST = {"Authorization": "Bearer ingest"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def export(*spans: Span, service: str = "orchestrator") -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=service)))
    resource.scope_spans.add().spans.extend(spans)
    return bytes(request.SerializeToString())


def span(
    name: str, number: int = 1, parent: int = 0, start_s: float = 1000.0, trace_id: str = TRACE, **tags: str
) -> Span:
    return Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=int(start_s * 1e9),
        end_time_unix_nano=int((start_s + 0.25) * 1e9),
        attributes=[KeyValue(key=key.replace("_", "."), value=AnyValue(string_value=v)) for key, v in tags.items()],
    )


@pytest.fixture
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "k"}, private=True)


@pytest.fixture
def client(tmp_path: Path, key: RSAKey) -> AsyncClient:
    (tmp_path / "key").write_bytes(orjson.dumps(key.as_dict(private=True)))
    store = TraceStore(tmp_path / "spans.sqlite")
    app = create_app(store, BearerCheck(URL, tmp_path / "key"), "ingest")
    return AsyncClient(transport=ASGITransport(app), base_url=URL)


async def send(client: AsyncClient, body: bytes, headers: dict[str, str]) -> int:
    return (await client.post("/v1/traces", content=body, headers=headers)).status_code


def reader(key: RSAKey, **changes: object) -> dict[str, str]:
    claims = {"iss": URL, "aud": "ucmesh", "sub": "cli", "exp": int(time.time()) + 60, "scope": "mesh.read"} | changes
    return {"Authorization": "Bearer " + jwt.encode({"alg": "RS256", "kid": "k"}, claims, key)}


async def test_a_trace_comes_back_in_jaegers_shape(client: AsyncClient, key: RSAKey) -> None:
    child = span("POST /v1.0/$batch", 2, parent=1, start_s=1000.1, ms_request_id="r-1")
    child.status.code = Status.STATUS_CODE_ERROR
    child.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8)
    child.events.add(name="retry", time_unix_nano=1_000_200_000_000)
    assert await send(client, export(span("plan", 1)), INGEST) == 200
    body = gzip.compress(export(child, service="graph-adapter"))
    assert await send(client, body, INGEST | {"Content-Encoding": "gzip"}) == 200

    trace = (await client.get(f"/api/traces/{TRACE}", headers=reader(key))).json()["data"][0]
    first, second = trace["spans"]
    assert (first["operationName"], first["references"], first["startTime"]) == ("plan", [], 1_000_000_000)
    assert second["duration"] == 250_000
    assert second["references"] == [
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": first["spanID"]},
        {"refType": "FOLLOWS_FROM", "traceID": "01" * 16, "spanID": "02" * 8},
    ]
    tags = {tag["key"]: tag["value"] for tag in second["tags"]}
    assert tags["ms.request.id"] == "r-1"
    assert tags["error"] is True
    assert tags["span.kind"] == "client"
    assert second["logs"][0]["fields"][0]["value"] == "retry"
    assert trace["processes"][second["processID"]]["serviceName"] == "graph-adapter"


async def test_search_by_service_tag_and_time_newest_first(client: AsyncClient, key: RSAKey) -> None:
    for number in range(1, 4):
        one = span("plan", number, start_s=1000 + number, trace_id=f"{number:032x}", plan_id=f"p-{number % 2}")
        await send(client, export(one), INGEST)

    async def found(query: str) -> list[str]:
        answer = await client.get(f"/api/traces?{query}", headers=reader(key))
        return [trace["traceID"][-1] for trace in answer.json()["data"]]

    assert await found("service=orchestrator") == ["3", "2", "1"]
    assert await found("tag=plan.id:p-1") == ["3", "1"]
    assert await found('tags={"plan.id":"p-0"}') == ["2"]
    assert await found("tag=plan.id:p-1&limit=1") == ["3"]
    assert await found("start=1002000000&end=1002500000") == ["2"]
    assert await found("service=nobody") == []
    assert (await client.get("/api/services", headers=reader(key))).json()["data"] == ["orchestrator"]


async def test_every_door_but_health_wants_the_right_token(client: AsyncClient, key: RSAKey) -> None:
    other = RSAKey.generate_key(2048, {"kid": "k"}, private=True)
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.get("/api/services")).status_code == 401
    assert (await client.get("/api/services", headers=reader(other))).status_code == 401
    assert (await client.get("/api/services", headers=reader(key, exp=1))).status_code == 401
    assert (await client.get("/api/services", headers=reader(key, aud="x"))).status_code == 401
    assert (await client.get("/api/services", headers=reader(key, scope="mesh.write"))).status_code == 403
    assert await send(client, export(span("x")), {}) == 401
    assert await send(client, export(span("x")), reader(key)) == 401


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff\xff", {}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"\0" * (17 * 1024 * 1024)), {"Content-Encoding": "gzip"}, 413),
        (b"\0" * (17 * 1024 * 1024), {}, 413),
    ],
)
async def test_bad_exports_are_refused(client: AsyncClient, body: bytes, headers: dict[str, str], status: int) -> None:
    assert await send(client, body, INGEST | headers) == status


@pytest.mark.parametrize("query", ["limit=x", "start=x", "tags=[1]", "tags={"])
async def test_a_query_that_cannot_be_read_is_refused(client: AsyncClient, key: RSAKey, query: str) -> None:
    assert (await client.get(f"/api/traces?{query}", headers=reader(key))).status_code == 422


async def test_an_unknown_trace_is_not_found(client: AsyncClient, key: RSAKey) -> None:
    answer = await client.get("/api/traces/abc", headers=reader(key))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_oldest_spans_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "s.sqlite", spans_max=50)
    for number in range(1, 121):
        one = span("x", number, start_s=number, trace_id=f"{number:032x}")
        store.add(spans_of(ExportTraceServiceRequest.FromString(export(one))))
    kept = store.search(Search(limit=1000))
    assert 40 <= len(kept) <= 50
    assert kept[0] == f"{120:032x}"
    assert TraceStore(tmp_path / "s.sqlite", spans_max=50).search(Search(limit=1)) == [f"{120:032x}"]


def test_a_file_that_is_no_database_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"garbage" * 1000)
    assert TraceStore(tmp_path / "s.sqlite").services() == []
