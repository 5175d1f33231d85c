"""The bare pipeline as seen from outside: its three processes, the people sent through it, and what it cost.

Owns starting and ending them on a PostgreSQL and a Kafka that run already.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson
from joining.meters import Meters, Stretch
from joining.worker import Worker

from bare.process import Task
from mesh_messaging.kafka import KafkaSettings, wait_until_ready
from mesh_messaging.topics import Cluster, Topic

COMMANDS, REPLIES = "ucmesh.bare.commands.v1", "ucmesh.bare.replies.v1"
DATABASES = ("bare_orchestrator", "bare_adapter")
PARTITIONS = 12
INTAKE_SIZE = 500
READY_SECONDS_MAX = 60.0

EnsureDatabase = Callable[[str, str], Awaitable[str]]


async def run(
    ensure_database: EnsureDatabase,
    kafka: str,
    warm_up: Sequence[dict[str, Any]],
    people: Sequence[dict[str, Any]],
    meters: Meters,
) -> Stretch:
    """`meters` has the pid of PostgreSQL and of Kafka; those of the pipeline are added. Warm-up is not counted."""
    client = KafkaSettings(kafka)
    async with Cluster(client) as cluster:
        await cluster.create_topics([Topic(name, PARTITIONS) for name in (COMMANDS, REPLIES)])
    await wait_until_ready(client, [COMMANDS, REPLIES], READY_SECONDS_MAX)
    urls = [await ensure_database(name, name) for name in DATABASES]
    workers: list[Worker] = []
    try:
        workers.append(await Worker.start("bare.endpoint", {}))
        endpoint = f"http://127.0.0.1:{await workers[0].line()}"
        for module, url in zip(("bare.orchestrator", "bare.adapter"), urls, strict=True):
            workers.append(await Worker.start(module, asdict(Task(url, kafka, COMMANDS, REPLIES, endpoint))))
            await workers[-1].says("ready")
        orchestrator = workers[1]
        await _unless_one_ends(workers, _send(orchestrator, warm_up, len(warm_up)))
        pids = {worker.module.replace(".", " "): worker.process.pid for worker in workers}
        own = replace(meters, pids={**meters.pids, **pids})
        before = await own.begin()
        began = time.time()
        ended = await _unless_one_ends(workers, _send(orchestrator, people, len(warm_up) + len(people)))
        after = await own.read()
        for worker in reversed(workers):
            await worker.left()
    finally:
        for worker in workers:
            await worker.end()
    return Stretch(joiners=len(people), seconds=ended - began, cost=after.since(before))


async def _send(orchestrator: Worker, people: Sequence[dict[str, Any]], ended_in_all: int) -> float:
    """When the last of them ended (epoch)."""
    for start in range(0, len(people), INTAKE_SIZE):
        await orchestrator.tell(orjson.dumps(people[start : start + INTAKE_SIZE]).decode())
    await orchestrator.tell(str(ended_in_all))
    return float(orjson.loads(await orchestrator.line())["ended"])


async def _unless_one_ends(workers: Sequence[Worker], work: Coroutine[Any, Any, float]) -> float:
    """The work's result; RuntimeError when a process of the pipeline ends before, for nothing would come any more."""
    doing = asyncio.create_task(work)
    ending = {asyncio.create_task(worker.process.wait()): worker for worker in workers}
    try:
        await asyncio.wait([doing, *ending], return_when=asyncio.FIRST_COMPLETED)
        for task, worker in ending.items():
            if task.done() and not doing.done():
                raise RuntimeError(f"{worker.module} ended before its work was done")
        return await doing
    finally:
        doing.cancel()
        for task in ending:
            task.cancel()
