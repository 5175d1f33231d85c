"""A recorded set: what a release had in its databases, in its topics and in the tenant while plans were in flight.

Owns the files of a set, taking it and putting it back. Times are moved on the way back, so that the moment of the
recording is now: deadlines and leases have as long to go as they had. Refuses to know who is in flight: record.py does.

    story.json                 who is where in their plan, and how it has to end
    <service>.sql              the revision it is at, and COPY of every table
    messages.jsonl             records of the topics from the lowest offset that a consumer has committed
    tenant.json                the simulator's seed
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from mesh_messaging import kafka
from mesh_messaging.kafka import KafkaSettings
from mesh_runtime import migrations
from ucmesh_embedded import topology

REPLAY = Path(__file__).parents[1] / "replay"
KEYS = REPLAY / "keys"
SETS = REPLAY / "sets"
LEADERS_SECONDS_MAX = 60.0
VERSION_TABLE = "alembic_version"

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00(:?00)?)")
_JSON_AS_BYTES = re.compile(r"\\\\x(7b(?:[0-9a-f]{2})+7d)(?![0-9a-f])")  # \\x7b..7d: {..}, the value of an outbox row
_COPY = re.compile(r'^COPY "(\w+)" \((.*)\) FROM stdin;$')
_TABLES = """
    SELECT c.relname AS name,
           ARRAY(SELECT attname::text FROM pg_attribute
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum) AS columns,
           ARRAY(SELECT confrelid::regclass::text FROM pg_constraint
                 WHERE conrelid = c.oid AND contype = 'f') AS parents
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname
"""
_COMMANDS = {f"ucmesh.{service}{lane}.commands.v1": service for service in ("graph", "pwsh") for lane in ("", "-bulk")}
_SEQUENCES = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND is_identity = 'YES' ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one table, in PostgreSQL's COPY text format."""

    name: str
    columns: Sequence[str]
    rows: str


@dataclass(frozen=True)
class RecordedSet:
    """One release's set on disk."""

    folder: Path

    @cached_property
    def story(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "story.json").read_text("utf-8"))
        return found

    @property
    def people(self) -> list[dict[str, Any]]:
        """`point` of their plan, `data` HR sent, how it `ends`, and what an admin `asks` for, if anything."""
        return list(self.story["people"])

    @property
    def tenant_file(self) -> Path:
        return self.folder / "tenant.json"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """`topic`, `key`, `headers` and `value` as text."""
        return [json.loads(line) for line in self._text("messages.jsonl").splitlines()]

    def revision(self, service: str) -> str:
        return self._text(f"{service}.sql").split("\n", 1)[0].removeprefix("-- revision ")

    def tables(self, service: str, *, moved: bool = True) -> Iterator[Table]:
        """Parents first; with `moved`, in times as if it had been recorded now."""
        text = self._text(f"{service}.sql")
        lines = iter((self._moved(text) if moved else text).split("\n"))
        for line in lines:
            if begins := _COPY.match(line):
                rows = "".join(f"{row}\n" for row in iter(lines.__next__, "\\."))
                yield Table(begins[1], [name.strip('"') for name in begins[2].split(", ")], rows)

    def operations(self) -> set[tuple[str, str, int]]:
        """Target, name and version of every operation that plans hold or that was commanded."""
        found = {("graph", *_named(row)) for row in self._rows("graph-adapter", "operation")}
        found |= {("pwsh", *_named(row)) for row in self._rows("pwsh-gateway", "operation")}
        for row in self._rows("orchestrator", "operation"):
            target, definition = str(row["target"]), json.loads(row["definition"] or "null")
            found.add((target, definition["name"], definition.get("version", 1)))
            if undo := json.loads(row["undo"] or "null"):
                found.add((target, *_named(undo)))
        for message in self.messages:
            if commanded := _COMMANDS.get(message["topic"]):
                found.add((commanded, *_named(json.loads(message["value"]))))
        return found

    async def restore(self, service: str, url: str) -> None:
        """The database as it was, at the revision it was at."""
        await migrations.upgrade(url, topology.database(service), self.revision(service))
        connection = await asyncpg.connect(url)
        try:
            tables = list(self.tables(service))
            names = ", ".join(f'"{table.name}"' for table in tables)
            await connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
            for table in tables:
                source = io.BytesIO(table.rows.encode())
                await connection.copy_to_table(table.name, source=source, columns=list(table.columns), format="text")
            for name, column in await connection.fetch(_SEQUENCES):
                last = f'(SELECT coalesce(max("{column}"), 0) + 1 FROM "{name}")'
                await connection.execute(f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), {last}, false)")
        finally:
            await connection.close()

    async def play(self, bootstrap: str) -> None:
        """Every record into its topic; the order of a key stays."""
        topics = sorted({message["topic"] for message in self.messages})
        await kafka.wait_until_ready(KafkaSettings(bootstrap), topics, LEADERS_SECONDS_MAX)
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            for message in self.messages:
                headers = [(name, self._moved(value).encode()) for name, value in message["headers"]]
                value = self._moved(message["value"]).encode()
                await producer.send_and_wait(message["topic"], value, key=message["key"].encode(), headers=headers)
        finally:
            await producer.stop()

    def _rows(self, service: str, name: str) -> Iterator[dict[str, str | None]]:
        for table in self.tables(service, moved=False):
            for line in table.rows.splitlines() if table.name == name else ():
                values = [None if value == "\\N" else value.replace("\\\\", "\\") for value in line.split("\t")]
                yield dict(zip(table.columns, values, strict=True))

    def _text(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8")

    def _moved(self, text: str) -> str:
        ago = self._now - datetime.fromisoformat(self.story["recorded_at"])

        def later(found: re.Match[str]) -> str:
            moment = datetime.fromisoformat(re.sub(r"\+00$", "+00:00", found[0]).replace("Z", "+00:00"))
            return (moment + ago).isoformat(sep=found[0][10])

        def within(found: re.Match[str]) -> str:
            return f"\\\\x{_MOMENT.sub(later, bytes.fromhex(found[1]).decode()).encode().hex()}"

        return _JSON_AS_BYTES.sub(within, _MOMENT.sub(later, text))

    @cached_property
    def _now(self) -> datetime:
        """One moment for all files of a set that is put back."""
        return datetime.now(UTC)


def _named(operation: Mapping[str, Any]) -> tuple[str, int]:
    return str(operation["operation"]), int(operation["version"])


def every() -> list[RecordedSet]:
    """All sets, oldest release first."""
    folders = sorted(SETS.iterdir(), key=lambda folder: [int(part) for part in folder.name.split(".")])
    return [RecordedSet(folder) for folder in folders]


async def dump(url: str) -> str:
    """Revision and rows of one database as SQL that psql reads, too."""
    connection = await asyncpg.connect(url, server_settings={"TimeZone": "UTC"})
    try:
        revision = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")
        parts = [f"-- revision {revision}"]
        for table in _parents_first(await connection.fetch(_TABLES)):
            out = io.BytesIO()
            columns = ", ".join(f'"{column}"' for column in table["columns"])
            query = f'SELECT {columns} FROM "{table["name"]}" ORDER BY 1'
            await connection.copy_from_query(query, output=out, format="text")
            if out.tell():
                parts.append(f'COPY "{table["name"]}" ({columns}) FROM stdin;\n{out.getvalue().decode()}\\.')
        return "\n".join(parts) + "\n"
    finally:
        await connection.close()


async def unread(bootstrap: str) -> list[dict[str, Any]]:
    """The records that not all consumers of their topic have committed."""
    topics = yaml.safe_load(topology.TOPICS_FILE.read_text("utf-8"))["topics"]
    client = kafka.make_client(KafkaSettings(bootstrap))
    await client.bootstrap()
    try:
        cluster = await client.fetch_all_metadata()
    finally:
        await client.close()
    first: dict[TopicPartition, int] = {}
    for topic, declared in topics.items():
        partitions = [TopicPartition(topic, number) for number in sorted(cluster.partitions_for_topic(topic))]
        for group in declared.get("consumers", []):
            for partition, offset in (await _committed(bootstrap, partitions, group)).items():
                first[partition] = min(first.get(partition, offset), offset)
    return await _records(bootstrap, first)


async def _committed(bootstrap: str, partitions: Sequence[TopicPartition], group: str) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        return {partition: await consumer.committed(partition) or 0 for partition in partitions}
    finally:
        await consumer.stop()


async def _records(bootstrap: str, first: Mapping[TopicPartition, int]) -> list[dict[str, Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    found = []
    try:
        consumer.assign(list(first))
        ends = await consumer.end_offsets(list(first))
        for partition, offset in first.items():
            consumer.seek(partition, offset)
        left = sum(ends[partition] - offset for partition, offset in first.items())
        while left:
            record = await consumer.getone()
            left -= 1
            headers = [(name, value.decode()) for name, value in record.headers]
            kept = {"topic": record.topic, "key": record.key.decode(), "headers": headers}
            found.append({**kept, "value": record.value.decode()})
    finally:
        await consumer.stop()
    return found


def _parents_first(tables: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """Tables that others refer to before those."""
    left = [table for table in tables if table["name"] != VERSION_TABLE]
    ordered: list[asyncpg.Record] = []
    while left:
        known = {table["name"] for table in ordered}
        free = [table for table in left if set(table["parents"]) - {table["name"]} <= known]
        assert free, "tables refer to each other in a circle"
        ordered += free
        left = [table for table in left if table not in free]
    return ordered
