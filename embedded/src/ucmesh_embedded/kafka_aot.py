"""Builds the ahead-of-time cache that halves Apache Kafka's start: once per machine, in the background.

A training broker starts in a folder of its own, serves a few requests and ends; Java writes the cache at its exit.
Nothing depends on it: without the cache, or with one that no longer fits, Kafka starts as usual.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ucmesh_embedded.kafka import JVM_FLAGS, KafkaBroker, KafkaSettings, aot_cache, java
from ucmesh_embedded.places import Places

BUILD_SECONDS_MAX = 300
TRAINING_TOPIC = "training"


def build(cache: Path) -> bool:
    """Build the cache unless it is there or being built. True when this call built it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka-aot.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        target = aot_cache(cache)
        if target.exists():
            return False
        folder = Path(tempfile.mkdtemp(prefix="kafka-aot-", dir=cache))
        try:
            part = folder / "kafka.aot"
            asyncio.run(_train(folder, part, cache))
            if not part.exists():
                return False
            part.replace(target)
            for old in cache.glob("kafka-*.aot"):
                if old != target:
                    old.unlink()
            return True
        finally:
            shutil.rmtree(folder, ignore_errors=True)


async def _train(folder: Path, part: Path, cache: Path) -> None:
    flags = (f"-XX:AOTCacheOutput={part}", "-Xlog:aot*=off")
    broker = KafkaBroker(KafkaSettings(folder / "kafka", cache, folder / "kafka.log", jvm_flags=flags))
    await broker.start()
    try:
        await _exercise(broker.bootstrap)
    finally:
        await broker.stop(BUILD_SECONDS_MAX)


async def _exercise(bootstrap: str) -> None:
    """What every run does soon after its start, so that its classes are in the cache."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TRAINING_TOPIC, 12, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    await asyncio.gather(*[await producer.send(TRAINING_TOPIC, b"x" * 200) for _ in range(200)])
    await producer.stop()
    consumer = AIOKafkaConsumer(
        TRAINING_TOPIC, bootstrap_servers=bootstrap, group_id="training", auto_offset_reset="earliest"
    )
    await consumer.start()
    for _ in range(200):
        await asyncio.wait_for(consumer.getone(), 30)
    await consumer.commit()
    await consumer.stop()


def build_in_background(places: Places) -> None:
    """Start the build at the lowest priority and do not wait for it; it may outlive us."""
    if aot_cache(places.cache).exists():
        return
    with contextlib.suppress(OSError), (places.logs / "kafka-aot.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "ucmesh_embedded.kafka_aot"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "UCMESH_HOME": str(places.home)},
            start_new_session=True,
        )


def main() -> None:
    os.nice(19)
    places = Places.from_environment()
    places.make()
    built = build(places.cache)
    print(f"{aot_cache(places.cache)}: {'built' if built else 'nothing to do'} for {' '.join(JVM_FLAGS)} on {java()}")


if __name__ == "__main__":
    main()
