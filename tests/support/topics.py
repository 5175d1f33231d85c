"""Topics for a test, made on the broker it was given."""

from collections.abc import Mapping

from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.topics import Cluster, Topic


async def make_topics(kafka: KafkaSettings, partitions: Mapping[str, int]) -> None:
    """Create the topics (name: number of partitions) that do not exist; others are left as they are."""
    async with Cluster(kafka) as cluster:
        await cluster.create_topics([Topic(name, count) for name, count in partitions.items()])
