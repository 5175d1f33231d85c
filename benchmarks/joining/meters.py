"""Meters: what a stretch of work cost, read from outside the programs that did it.

Owns CPU seconds by process (children included; PostgreSQL by database), transactions and rows by database, statements
where pg_stat_statements is loaded, messages by topic, Graph requests by the simulator's own count. Every meter is read
twice; the difference is the cost.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncpg
import httpx
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from joining.service_metrics import ServiceMetrics

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters that only grow, at one moment."""

    cpu_seconds: Figures = field(default_factory=dict)
    machine_busy_seconds: float = 0.0
    database: Figures = field(default_factory=dict)
    messages: Figures = field(default_factory=dict)
    requests: Figures = field(default_factory=dict)
    services: Figures = field(default_factory=dict)

    def since(self, before: "Reading") -> "Reading":
        """What was added since `before`."""
        return Reading(
            _minus(self.cpu_seconds, before.cpu_seconds),
            self.machine_busy_seconds - before.machine_busy_seconds,
            _minus(self.database, before.database),
            _minus(self.messages, before.messages),
            _minus(self.requests, before.requests),
            _minus(self.services, before.services),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A measured stretch of one side: people, from the first one sent to the end of the last one, and what it cost."""

    joiners: int
    seconds: float
    cost: Reading

    @property
    def joiners_per_second(self) -> float:
        return self.joiners / self.seconds

    @property
    def cpu_milliseconds(self) -> float:
        """CPU of all programs of the side, servers and load generator included, for one joiner."""
        return sum(self.cost.cpu_seconds.values()) * 1e3 / self.joiners

    @property
    def other_load(self) -> float:
        """The share of the machine that programs of no side took."""
        left = self.cost.machine_busy_seconds - sum(self.cost.cpu_seconds.values())
        return max(left, 0.0) / (self.seconds * (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class SimulatorCounts:
    """Graph requests one tenant of the simulator has answered, over its admin API."""

    admin_url: str
    admin_token: str
    tenant_id: str

    async def read(self) -> dict[str, float]:
        """By method, those inside $batch counted one by one."""
        headers = {"authorization": f"Bearer {self.admin_token}"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            url = f"{self.admin_url}/_sim/tenants/{self.tenant_id}/state"
            answer = (await http.get(url, params={"section": "requests", "limit": 1})).raise_for_status().json()
        return {name: count for name, count in answer["requests"]["counts"].items() if name.startswith("graph ")}


@dataclass(frozen=True, slots=True)
class Meters:
    """`pids` by the name a process is shown under; the one called postgres is split by database.

    Unset: without `simulator` no Graph requests are counted, without `kafka` no messages.
    """

    pids: Mapping[str, int]
    postgres_url: str
    simulator: SimulatorCounts | None = None
    kafka: str | None = None
    topics: Sequence[str] = ()
    services: ServiceMetrics | None = None

    async def read(self) -> Reading:
        """CPU is read first, so that reading the rest does not count."""
        cpu_seconds, busy = self._cpu(), machine_busy_seconds()
        return Reading(
            cpu_seconds=cpu_seconds,
            machine_busy_seconds=busy,
            database=await database_counts(self.postgres_url),
            messages=await end_offsets(self.kafka, self.topics) if self.kafka else {},
            requests=await self.simulator.read() if self.simulator else {},
            services=await self.services.read() if self.services else {},
        )

    async def begin(self) -> Reading:
        """A reading to count from: CPU is read last."""
        return replace(await self.read(), cpu_seconds=self._cpu(), machine_busy_seconds=machine_busy_seconds())

    def _cpu(self) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for name, pid in self.pids.items():
            if name == "postgres":
                seconds |= postgres_cpu(pid)
            else:
                seconds[name] = tree_cpu(psutil.Process(pid))
        own = os.times()
        seconds["load generator"] = own.user + own.system
        return seconds


def tree_cpu(process: psutil.Process) -> float:
    """User and system seconds of a process, its living descendants and those it has waited for."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def postgres_cpu(pid: int) -> dict[str, float]:
    """By database of the backend; the server's own processes and backends that ended are `postgres: server`."""
    server = psutil.Process(pid)
    own = server.cpu_times()
    seconds: defaultdict[str, float] = defaultdict(float)
    seconds["postgres: server"] = own.user + own.system + own.children_user + own.children_system
    for child in server.children():
        try:
            times, title = child.cpu_times(), " ".join(child.cmdline())
        except psutil.Error:
            continue
        seconds[f"postgres: {_database_of(title)}"] += times.user + times.system
    return dict(seconds)


def _database_of(title: str) -> str:
    """A backend calls itself `postgres: ROLE DATABASE HOST(PORT) STATE`."""
    words = title.split()
    return words[2] if len(words) > 3 and "(" in words[3] else "server"


def machine_busy_seconds() -> float:
    """Seconds all cores together have worked, for anybody."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


async def database_counts(url: str) -> dict[str, float]:
    """Transactions and written rows by database, log bytes, and statements where they are counted."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT datname, xact_commit + xact_rollback AS transactions,"
            " tup_inserted + tup_updated + tup_deleted AS rows"
            " FROM pg_stat_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
        )
        counts = {f"transactions {row['datname']}": float(row["transactions"]) for row in rows}
        counts |= {f"rows {row['datname']}": float(row["rows"]) for row in rows}
        counts["log bytes"] = float(await connection.fetchval("SELECT wal_bytes FROM pg_stat_wal"))
        if await connection.fetchval("SELECT to_regclass('pg_stat_statements') IS NOT NULL"):
            rows = await connection.fetch(
                "SELECT d.datname, sum(s.calls)::float8 AS calls FROM pg_stat_statements AS s"
                " JOIN pg_database AS d ON d.oid = s.dbid WHERE d.datname <> 'postgres' GROUP BY 1"
            )
            counts |= {f"statements {row['datname']}": row["calls"] for row in rows}
        return counts
    finally:
        await connection.close()


async def end_offsets(bootstrap: str, topics: Sequence[str]) -> dict[str, float]:
    """Messages ever written, by topic."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for topic in topics for n in consumer.partitions_for_topic(topic) or ()]
        counts: Counter[str] = Counter()
        for partition, offset in (await consumer.end_offsets(partitions)).items():
            counts[partition.topic] += offset
        return {topic: float(count) for topic, count in counts.items()}
    finally:
        await consumer.stop()


def _minus(after: Figures, before: Figures) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
