"""Kafka passwords are changed while messages flow: replicas are replaced one after the other, and nothing is lost."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from mesh_messaging.envelope import to_headers
from mesh_messaging.kafka import KafkaSettings, make_producer
from support.messaging import Place, event, make_place, running
from support.secured_broker import SecuredBroker, topics_command
from support.waiting import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(300)]

SENDER, RECEIVER, TOPIC = "pwsh-gateway", "orchestrator", "ucmesh.orchestrator.replies.v1"


@contextlib.asynccontextmanager
async def producing(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = make_producer(settings)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


async def send(producer: AIOKafkaProducer, first: int, last: int) -> None:
    for n in range(first, last):
        item = event(n)
        await producer.send_and_wait(TOPIC, item.data, key=f"k{n % 5}".encode(), headers=to_headers(item))


async def test_passwords_change_under_traffic_and_the_former_ones_end(
    broker: SecuredBroker, fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    place = await make_place(fresh_database(), None, topic=TOPIC, consumer=RECEIVER, partitions=12)
    former = {user: broker.client(user) for user in (SENDER, RECEIVER)}
    async with running(place.consumer_of(kafka=former[RECEIVER]).run), producing(former[SENDER]) as old:
        await send(old, 0, 20)
        await handled(place, 20)
        for user in former:
            (tmp_path / user).write_text(f"quite another password of {user}")
            (broker.passwords / user).write_text((tmp_path / user).read_text())
        changed: subprocess.CompletedProcess[str] = topics_command(broker, "set-passwords", tmp_path)
        assert changed.returncode == 0, changed.stderr
        await eventually(lambda: is_refused(former[SENDER]), seconds=60, what="the end of the former password")
        # Who is signed in stays so: replicas with the former password go on until each is replaced.
        await send(old, 20, 40)
        await handled(place, 40)
        async with producing(broker.client(SENDER)) as new:
            await send(new, 40, 60)
    # Between the former replica's end and the new one's start nobody reads: it waits.
    async with producing(broker.client(SENDER)) as new, running(place.consumer_of(kafka=broker.client(RECEIVER)).run):
        await send(new, 60, 80)
        await handled(place, 80)
    assert sorted(await place.effects()) == list(range(80))
    await place.db.close()


async def handled(place: Place, count: int) -> None:
    async def there() -> bool:
        return len(await place.effects()) >= count

    await eventually(there, seconds=120, what=f"{count} effects")


async def is_refused(settings: KafkaSettings) -> bool:
    try:
        async with producing(settings):
            return False
    except KafkaError:
        return True
