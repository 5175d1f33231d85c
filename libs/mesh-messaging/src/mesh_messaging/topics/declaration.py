"""The topics file: which topics exist, how they are kept, who writes and who reads them.

Owns the file's grammar and what follows from it: dead-letter topics and rights. Refuses to know any name: that is data.

    producer of a topic    Write on it; IdempotentWrite on the cluster
    consumer of a topic    Read on it; Read on the group of its own name, for a `bulk` topic on its bulk group; Write on
                           its dead-letter topic
    reader of a topic      Read on it; Read on the group of its own name: somebody outside, without dead letters
    observer               Describe on every topic and group: sees lag, reads nothing

Read and Write include Describe. Consumers announce dead letters themselves, so a consumer is a producer, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mesh_messaging.names import bulk_group, check_topic, dead_letter_topic
from mesh_runtime.errors import InvalidInput

CLUSTER_NAME = "kafka-cluster"
IN_SYNC_SETTING = "min.insync.replicas"

Principal = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `config` holds Kafka's own settings by their own names; others stay the brokers' defaults."""

    name: str
    partitions: int
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One access-control entry, in the words of `kafka-acls`."""

    principal: str
    operation: str
    kind: str
    name: str
    pattern: str = "Literal"
    host: str = "*"
    permission: str = "Allow"

    def __str__(self) -> str:
        verb = self.operation if self.permission == "Allow" else f"{self.permission} {self.operation}"
        where = "" if self.host == "*" else f" from {self.host}"
        pattern = "" if self.pattern == "Literal" else f" ({self.pattern})"
        return f"{self.principal}: {verb} {self.kind} {self.name}{pattern}{where}"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the brokers are to hold. `topics` includes the dead-letter topics."""

    topics: Sequence[Topic]
    rights: frozenset[Right] = frozenset()

    @property
    def principals(self) -> list[str]:
        """Everybody who has a right, `User:` in front."""
        return sorted({right.principal for right in self.rights})

    def with_replication(self, replicas: int) -> "Declaration":
        """The same for brokers of another number: every topic on `replicas` of them."""
        return replace(self, topics=[_replicated(topic, replicas) for topic in self.topics])


class _Kept(BaseModel):
    """How one kind of topic is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partitions: Annotated[int, Field(ge=1, le=10_000)] | None = None
    replication: Annotated[int, Field(ge=1, le=32)] | None = None
    config: Mapping[str, Value] = {}


class _Entry(_Kept):
    producers: Sequence[Principal] = ()
    consumers: Sequence[Principal] = ()
    readers: Sequence[Principal] = ()
    bulk: bool = False

    def groups(self) -> Iterator[tuple[str, str]]:
        """Who reads it, and as which group."""
        yield from ((name, bulk_group(name) if self.bulk else name) for name in self.consumers)
        yield from ((name, name) for name in self.readers)


class _Defaults(_Kept):
    partitions: Annotated[int, Field(ge=1, le=10_000)]
    replication: Annotated[int, Field(ge=1, le=32)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    defaults: _Defaults
    dead_letters: _Kept = _Kept()
    observers: Sequence[Principal] = ()
    topics: Mapping[str, _Entry]


def load(path: Path) -> Declaration:
    """Read a topics file. InvalidInput (code `topics-file-invalid`) names the file and every place to fix."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise _invalid(path, [str(error)]) from error
    try:
        file = _File.model_validate(document)
        problems = [problem for name in file.topics if (problem := _misnamed(name))]
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in e['loc']) or 'the file'}: {e['msg']}" for e in error.errors()]
    if problems:
        raise _invalid(path, problems)
    topics = [topic for name, entry in file.topics.items() for topic in _topics(file, name, entry)]
    return Declaration(topics, frozenset(_rights(file)))


def _misnamed(name: str) -> str:
    try:
        check_topic(name)
    except InvalidInput as error:
        return f"topics.{error.message}"
    return ""


def _invalid(path: Path, problems: Sequence[str]) -> InvalidInput:
    lines = "".join(f"\n  {problem}" for problem in problems)
    return InvalidInput(f"{path} is no topics file:{lines}", code="topics-file-invalid")


def _topics(file: _File, name: str, entry: _Entry) -> Iterator[Topic]:
    yield _topic(name, file.defaults, entry)
    for consumer in entry.consumers:
        yield _topic(dead_letter_topic(name, consumer), file.defaults, file.dead_letters)


def _topic(name: str, defaults: _Defaults, own: _Kept) -> Topic:
    config = {setting: _text(value) for setting, value in {**defaults.config, **own.config}.items()}
    topic = Topic(name, own.partitions or defaults.partitions, own.replication or defaults.replication, config)
    return _replicated(topic, topic.replication)


def _replicated(topic: Topic, replicas: int) -> Topic:
    """More copies in sync than copies could never be written to."""
    config = dict(topic.config)
    if IN_SYNC_SETTING in config:
        config[IN_SYNC_SETTING] = str(min(int(config[IN_SYNC_SETTING]), replicas))
    return replace(topic, replication=replicas, config=config)


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rights(file: _File) -> Iterator[Right]:
    groups = sorted({group for entry in file.topics.values() for _, group in entry.groups()})
    for name, entry in file.topics.items():
        names = [name]
        for producer in entry.producers:
            yield from _writes(producer, name)
        for reader, group in entry.groups():
            yield Right(f"User:{reader}", "Read", "Topic", name)
            yield Right(f"User:{reader}", "Read", "Group", group)
        for consumer in entry.consumers:
            names.append(dead_letter_topic(name, consumer))
            yield from _writes(consumer, names[-1])
        for observer in file.observers:
            yield from (Right(f"User:{observer}", "Describe", "Topic", seen) for seen in names)
    for observer in file.observers:
        yield from (Right(f"User:{observer}", "Describe", "Group", group) for group in groups)


def _writes(principal: str, topic: str) -> Iterator[Right]:
    yield Right(f"User:{principal}", "Write", "Topic", topic)
    yield Right(f"User:{principal}", "IdempotentWrite", "Cluster", CLUSTER_NAME)
