"""Spans in one SQLite file: bounded, searchable by service, operation, time and tag.

Owns: the file and the mapping from OTLP's protobuf to Jaeger's span JSON. Refuses: HTTP.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SPANS_MAX = 200_000
TRIM_SPANS = 10_000
TAG_BYTES_MAX = 16_384

_SCHEMA = """
CREATE TABLE IF NOT EXISTS span (
    trace_id TEXT NOT NULL, span_id TEXT NOT NULL, service TEXT NOT NULL, name TEXT NOT NULL,
    start_us INTEGER NOT NULL, tags TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (trace_id, span_id));
CREATE INDEX IF NOT EXISTS span_start ON span (start_us);
"""
_KINDS = {
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}
_TYPES = {"bool_value": "bool", "int_value": "int64", "double_value": "float64"}


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span with the fields that are searched beside its Jaeger JSON."""

    trace_id: str
    span_id: str
    service: str
    name: str
    start_us: int
    tags: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Search:
    """Unset fields (None, empty) do not restrict. Times in microseconds since 1970."""

    service: str | None = None
    operation: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    start_us: int | None = None
    end_us: int | None = None
    limit: int = 20


class TraceStore:
    """A single writer and reader. A file that is not a database (a torn disk, an older shape) is made anew."""

    def __init__(self, file: Path, *, spans_max: int = SPANS_MAX) -> None:
        self._spans_max = spans_max
        try:
            self._db = _open(file)
        except sqlite3.DatabaseError:
            for old in (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")):
                old.unlink(missing_ok=True)
            self._db = _open(file)
        self._count = int(self._db.execute("SELECT count(*) FROM span").fetchone()[0])

    def add(self, spans: Iterable[StoredSpan]) -> None:
        """Keep the spans; over the bound the oldest go. A span that came before replaces itself."""
        rows = [(s.trace_id, s.span_id, s.service, s.name, s.start_us, s.tags, s.body) for s in spans]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._count += len(rows)
            if self._count > self._spans_max:
                self._trim()

    def trace(self, trace_id: str) -> list[dict[str, object]]:
        rows = self._db.execute("SELECT body FROM span WHERE trace_id = ? ORDER BY start_us", (trace_id,))
        return [orjson.loads(body) for (body,) in rows]

    def search(self, search: Search) -> list[str]:
        """Ids of traces with a span that fits, newest first."""
        wheres: list[tuple[str, object]] = [
            ("instr(tags, ?) > 0", f"\n{key}={value}\n") for key, value in search.tags.items()
        ]
        for column, value in (
            ("service = ?", search.service),
            ("name = ?", search.operation),
            ("start_us >= ?", search.start_us),
            ("start_us <= ?", search.end_us),
        ):
            if value is not None:
                wheres.append((column, value))
        where = " AND ".join(text for text, _ in wheres) or "1"
        rows = self._db.execute(
            f"SELECT trace_id FROM span WHERE {where} GROUP BY trace_id ORDER BY max(start_us) DESC LIMIT ?",
            [*(value for _, value in wheres), search.limit],
        )
        return [trace_id for (trace_id,) in rows]

    def services(self) -> list[str]:
        return [name for (name,) in self._db.execute("SELECT DISTINCT service FROM span ORDER BY service")]

    def _trim(self) -> None:
        count = int(self._db.execute("SELECT count(*) FROM span").fetchone()[0])
        surplus = count - self._spans_max
        if surplus > 0:
            gone = min(count, surplus + min(TRIM_SPANS, self._spans_max // 10))
            self._db.execute(
                "DELETE FROM span WHERE rowid IN (SELECT rowid FROM span ORDER BY start_us LIMIT ?)", (gone,)
            )
            count -= gone
        self._count = count


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(file)
    with contextlib.ExitStack() as stack:
        stack.callback(db.close)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(_SCHEMA)
        stack.pop_all()
    return db


def spans_of(request: ExportTraceServiceRequest) -> Iterator[StoredSpan]:
    for resource in request.resource_spans:
        tags = _tags(resource.resource.attributes)
        service = next((str(tag["value"]) for tag in tags if tag["key"] == "service.name"), "unknown")
        process: dict[str, object] = {
            "serviceName": service,
            "tags": [tag for tag in tags if tag["key"] != "service.name"],
        }
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _stored(span, service, process)


def _stored(span: Span, service: str, process: dict[str, object]) -> StoredSpan:
    tags = _tags(span.attributes)
    if span.kind in _KINDS:
        tags.append({"key": "span.kind", "type": "string", "value": _KINDS[span.kind]})
    if span.status.code == Status.STATUS_CODE_ERROR:
        tags.append({"key": "error", "type": "bool", "value": True})
        tags.append({"key": "otel.status_description", "type": "string", "value": span.status.message})
    trace_id, span_id, start_us = span.trace_id.hex(), span.span_id.hex(), span.start_time_unix_nano // 1000
    body = {
        "traceID": trace_id,
        "spanID": span_id,
        "operationName": span.name,
        "references": _references(span),
        "startTime": start_us,
        "duration": max(0, span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        "tags": tags,
        "logs": [
            {
                "timestamp": event.time_unix_nano // 1000,
                "fields": [{"key": "event", "type": "string", "value": event.name}, *_tags(event.attributes)],
            }
            for event in span.events
        ],
        "warnings": None,
        "process": process,
    }
    searchable = "\n".join(f"{tag['key']}={_text(tag['value'])}" for tag in tags)[:TAG_BYTES_MAX]
    return StoredSpan(trace_id, span_id, service, span.name, start_us, f"\n{searchable}\n", orjson.dumps(body))


def _references(span: Span) -> list[dict[str, str]]:
    """The parent as CHILD_OF, links as FOLLOWS_FROM."""
    found = []
    if span.parent_span_id:
        found.append({"refType": "CHILD_OF", "traceID": span.trace_id.hex(), "spanID": span.parent_span_id.hex()})
    for link in span.links:
        found.append({"refType": "FOLLOWS_FROM", "traceID": link.trace_id.hex(), "spanID": link.span_id.hex()})
    return found


def _tags(attributes: Iterable[KeyValue]) -> list[dict[str, object]]:
    return [{"key": a.key, "type": _type(a.value), "value": _value(a.value)} for a in attributes]


def _type(value: AnyValue) -> str:
    return _TYPES.get(value.WhichOneof("value") or "", "string")


def _value(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return orjson.dumps([_value(one) for one in value.array_value.values]).decode()
        case "kvlist_value":
            return orjson.dumps({one.key: _value(one.value) for one in value.kvlist_value.values}).decode()
        case _:
            return ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
