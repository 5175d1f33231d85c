"""How evenly work falls: keys on partitions, partitions on replicas, shards of the outbox on relays."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.partitioner import DefaultPartitioner

from mesh_messaging.schema import SHARD_COUNT
from scaling.world import World

ORCHESTRATOR_TOPICS = ("ucmesh.certificates.v1", "ucmesh.hr.lifecycle.v1", "ucmesh.orchestrator.replies.v1")


class _Cluster:
    """As much of Kafka's metadata as the assignor asks for."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = topics

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._topics[topic]))


def busiest_partition(world: World, seed: int, partitions: int, messages: int, *, by_tenant: bool) -> float:
    """Messages of the busiest partition / mean, for messages of people drawn from all tenants alike. Keys are tenant
    and target, or the tenant alone.
    """
    draw, partitioner = random.Random(f"keys-{seed}"), DefaultPartitioner()
    places = list(range(partitions))
    chosen = draw.choices(range(len(world.people)), weights=world.people, k=messages)
    keys = (f"tenant-{n}" if by_tenant else f"tenant-{n}:{draw.randrange(world.people[n])}" for n in chosen)
    counts = Counter(partitioner(key.encode(), places, places) for key in keys)
    return max(counts.values()) * partitions / messages


def partitions_of_replicas(replicas: int, partitions: int, topics: Sequence[str] = ORCHESTRATOR_TOPICS) -> list[int]:
    """Partitions of all topics each replica's consumer gets."""
    names = [f"replica-{n:03d}" for n in range(replicas)]
    assigned = _assign(names, dict.fromkeys(topics, partitions))
    return sorted(sum(len(places) for places in assigned[name].values()) for name in names)


def consumers_with_work(replicas: int, partitions: int, topic: str) -> int:
    """Replicas that get a partition of this topic."""
    names = [f"replica-{n:03d}" for n in range(replicas)]
    assigned = _assign(names, dict.fromkeys(ORCHESTRATOR_TOPICS, partitions))
    return sum(bool(assigned[name].get(topic)) for name in names)


def _assign(names: Sequence[str], topics: Mapping[str, int]) -> dict[str, dict[str, list[int]]]:
    assignor = RoundRobinPartitionAssignor
    members = {name: assignor.metadata(set(topics)) for name in names}
    made = assignor.assign(_Cluster(topics), members)
    return {name: dict(made[name].assignment) for name in names}


def shards_of_relays(relays: int) -> list[int]:
    """As leases.py shares them out: each takes up to its fair share, rounded up, in turn."""
    share, left = -(-SHARD_COUNT // relays), SHARD_COUNT
    taken = []
    for _ in range(relays):
        taken.append(min(share, left))
        left -= taken[-1]
    return sorted(taken)
