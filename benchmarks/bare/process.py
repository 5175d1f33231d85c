"""What both processes of the bare pipeline begin with: their task, and the connections it names.

Owns the first line of standard input, PostgreSQL and Kafka clients, and the bounds of their loops.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from mesh_messaging.kafka import KafkaSettings

POLL_SECONDS = 0.05
RECORDS_MAX = 1_000
SEND_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Task:
    """Where the parts of the pipeline find each other."""

    database_url: str
    kafka: str
    commands: str
    replies: str
    endpoint: str

    @classmethod
    def read(cls) -> "Task":
        """From standard input."""
        return cls(**orjson.loads(sys.stdin.readline()))


@dataclass(frozen=True, slots=True)
class Connections:
    """One process's own."""

    pool: asyncpg.Pool
    consumer: AIOKafkaConsumer
    producer: AIOKafkaProducer


@asynccontextmanager
async def connected(task: Task, name: str, topic: str, *, schema: str, pool_size: int) -> AsyncIterator[Connections]:
    """Connections for the block, in a database that has the schema from now on; `name` is the consumer group."""
    pool = await asyncpg.create_pool(task.database_url, min_size=pool_size, max_size=pool_size)
    await pool.execute(schema)
    kafka = KafkaSettings(task.kafka)
    consumer, producer = kafka.make_consumer(name, [topic]), kafka.make_producer()
    await consumer.start()
    await producer.start()
    yield Connections(pool, consumer, producer)
    await consumer.stop()
    await producer.stop()
    pool.terminate()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or until the time is over: the net under a lost wake-up."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
