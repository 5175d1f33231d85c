"""The grammar of names on the wire: event types, topics, dead-letter topics.

Owns what a well-formed name is. Refuses to know which names exist: that is written in contracts/ and in each service.

    type   ucmesh.<area>.<resource>.v<N>.<action>     ucmesh.hr.person.v1.joined
    topic  ucmesh.<area>[.<kind>].v<N>                ucmesh.graph.commands.v1
    DLQ    <topic>.<consumer>.dlq                     ucmesh.graph.commands.v1.graph-adapter.dlq
"""

import re
from dataclasses import dataclass

from mesh_runtime.errors import InvalidInput

TOPIC_LENGTH_MAX = 249
"""Apache Kafka's own limit on the length of a topic name, in characters."""

_WORD = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_TYPE = re.compile(rf"ucmesh\.({_WORD})\.({_WORD})\.v([1-9][0-9]{{0,3}})\.({_WORD})")
_TOPIC = re.compile(rf"ucmesh\.{_WORD}(?:\.{_WORD})?\.v[1-9][0-9]{{0,3}}")
_CONSUMER = re.compile(_WORD)


@dataclass(frozen=True, slots=True)
class EventType:
    """The parts of `ucmesh.<area>.<resource>.v<version>.<action>`."""

    area: str
    resource: str
    version: int
    action: str

    def __str__(self) -> str:
        return f"ucmesh.{self.area}.{self.resource}.v{self.version}.{self.action}"


def parse_type(name: str) -> EventType:
    """Split an event type into its parts. Raises InvalidInput (code `invalid-event-type`) for anything off the
    grammar.
    """
    match = _TYPE.fullmatch(name)
    if match is None:
        raise InvalidInput(
            f"event type {name[:120]!r} is not ucmesh.<area>.<resource>.v<N>.<action> in lower case",
            code="invalid-event-type",
        )
    area, resource, version, action = match.groups()
    return EventType(area, resource, int(version), action)


def check_topic(name: str) -> str:
    """Return `name` if it is a topic of the mesh, else raise InvalidInput (code `invalid-topic`)."""
    if len(name) > TOPIC_LENGTH_MAX or _TOPIC.fullmatch(name) is None:
        raise InvalidInput(f"topic {name[:120]!r} is not ucmesh.<area>[.<kind>].v<N>", code="invalid-topic")
    return name


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


def bulk_group(consumer: str) -> str:
    """The group as which `consumer` reads its bulk topics."""
    return f"{consumer}-bulk"
