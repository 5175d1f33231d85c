"""The fixtures every other part builds on: fresh databases, a broker that answers, both survive kill -9."""

import uuid
from collections.abc import Callable

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from support.real_parts import Kafka, Postgres
from support.waiting import eventually


async def test_each_database_is_fresh_and_empty(fresh_database: Callable[[], str]) -> None:
    one, two = fresh_database(), fresh_database()
    connection = await asyncpg.connect(one)
    await connection.execute("CREATE TABLE mark (n int)")
    await connection.close()
    connection = await asyncpg.connect(two)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    assert (await connection.fetchval("SHOW server_version")).startswith("18.")
    await connection.close()


async def test_acknowledged_records_survive_kill_of_the_broker(kafka_broker: Kafka) -> None:
    topic = f"t.{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    for n in range(50):
        await producer.send_and_wait(topic, str(n).encode())
    kafka_broker.kill()
    await kafka_broker.start()
    await producer.send_and_wait(topic, b"after")
    await producer.stop()
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_broker.bootstrap, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    values = [(await consumer.getone()).value for _ in range(51)]
    await consumer.stop()
    assert values == [*(str(n).encode() for n in range(50)), b"after"]


async def test_committed_rows_survive_kill_of_postgres(postgres_server: Postgres, postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (7)")
    postgres_server.kill()

    async def is_lost() -> bool:
        """Its processes end one after the other: the one of this connection may answer once more."""
        try:
            await connection.fetchval("SELECT 1")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return True
        return False

    await eventually(is_lost, what="the connection to be lost")
    await postgres_server.start()
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT n FROM kept") == 7
    await connection.close()
