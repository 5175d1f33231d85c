"""The grammar of names on the wire: event types, topics, dead-letter topics.

Owns the name of a dead-letter topic. Refuses to know which names exist: that is written in contracts/ and in each
service.

    type   ucmesh.<area>.<resource>.v<N>.<action>     ucmesh.hr.person.v1.joined
    topic  ucmesh.<area>[.<kind>].v<N>                ucmesh.graph.commands.v1
    DLQ    <topic>.<consumer>.dlq                     ucmesh.graph.commands.v1.graph-adapter.dlq
"""

import re

from mesh_runtime.errors import InvalidInput

TOPIC_LENGTH_MAX = 249
"""Apache Kafka's own limit on the length of a topic name, in characters."""

_CONSUMER = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def dead_letter_topic(topic: str, consumer: str) -> str:
    """Name of the topic that announces what `consumer` gave up on from `topic`.

    Raises InvalidInput (code `invalid-topic`) when the consumer name is off the grammar or the result is too long
    for Kafka.
    """
    name = f"{topic}.{consumer}.dlq"
    if _CONSUMER.fullmatch(consumer) is None or len(name) > TOPIC_LENGTH_MAX:
        raise InvalidInput(
            f"no dead-letter topic can be named for {topic[:120]!r}, {consumer[:120]!r}", code="invalid-topic"
        )
    return name
