"""Apache Kafka's folder: half-made ones are made anew, damaged jars replaced, the ahead-of-time cache is optional."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient

from support.real_parts import cache, server_folder
from support.toxic import toxic
from ucmesh_embedded import jars, kafka
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.kafka import Door, KafkaBroker, KafkaSettings
from ucmesh_embedded.places import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def broker(folder: Path, *jvm_flags: str) -> KafkaBroker:
    return KafkaBroker(KafkaSettings(folder / "kafka", cache(), folder / "kafka.log", jvm_flags=jvm_flags))


async def test_a_format_that_died_half_way_is_begun_anew(folder: Path) -> None:
    for name in ("data.part", "data"):
        (folder / "kafka" / name).mkdir(parents=True)
        (folder / "kafka" / name / "half").write_text("written")
    made = broker(folder)
    await made.start()
    assert await kafka.answers(made.bootstrap)
    await made.stop()
    assert not await kafka.answers(made.bootstrap)


async def test_a_broken_ahead_of_time_cache_only_costs_time(folder: Path) -> None:
    (folder / "broken.aot").write_bytes(b"garbage" * 100)
    made = broker(folder, f"-XX:AOTCache={folder / 'broken.aot'}", "-Xlog:aot*=off")
    await made.start()
    await made.stop()


async def test_a_broker_that_cannot_start_shows_its_last_lines(folder: Path) -> None:
    made = broker(folder, "-XX:NoSuchFlag=1")
    with pytest.raises(StackError, match=r"(?s)did not start. Its last lines were:.*NoSuchFlag"):
        await made.start()


async def test_who_comes_through_a_door_is_told_the_door(folder: Path) -> None:
    async with toxic("127.0.0.1", free_port()) as proxy:
        settings = KafkaSettings(
            folder / "kafka", cache(), folder / "kafka.log", door=Door(proxy.upstream_port, proxy.port)
        )
        made = KafkaBroker(settings)
        await made.start()
        through, straight = (AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{at}") for at in (proxy.port, made.port))
        for client, port in ((through, proxy.port), (straight, made.port)):
            await client.bootstrap()
            assert [broker.port for broker in client.cluster.brokers()] == [port]
            await client.close()
        await made.stop()


async def test_two_clusters_have_ids_of_their_own(folder: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        made = broker(folder / name)
        await made.start()
        await made.stop()
        lines = (folder / name / "kafka" / "data" / "meta.properties").read_text().splitlines()
        ids |= {line for line in lines if line.startswith("cluster.id")}
    assert len(ids) == 2


def test_a_torn_jar_in_the_cache_is_replaced(folder: Path) -> None:
    shared = cache()
    jars.classpath(shared)
    smallest = min(jars.listed(), key=lambda jar: (shared / "maven" / jar.path).stat().st_size)
    mine = folder / "cache"
    for jar in jars.listed():
        (mine / "maven" / jar.path).parent.mkdir(parents=True, exist_ok=True)
        (mine / "maven" / jar.path).symlink_to(shared / "maven" / jar.path)
    torn = mine / "maven" / smallest.path
    torn.unlink()
    torn.write_bytes(b"torn")
    fetched: list[tuple[int, int]] = []
    jars.classpath(mine, lambda done, total: fetched.append((done, total)))
    assert fetched == [(1, 1)]
    assert torn.read_bytes() == (shared / "maven" / smallest.path).read_bytes()
