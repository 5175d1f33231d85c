"""What would have to change for the brokers to hold what is declared. Pure: no broker is asked here.

Owns what may be changed by itself. Refuses fewer partitions (Kafka cannot, and keys would move) and another number of
copies (data has to be moved by hand). Nothing is taken away unless pruning is asked for, and then only of the mesh:
topics named `ucmesh.`, rights on them, rights of declared principals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mesh_messaging.topics.declaration import Declaration, Right, Topic

OURS = "ucmesh."


@dataclass(frozen=True, slots=True)
class State:
    """What the brokers hold: topics with the settings that were set on them, and every right.

    `rights` is None where the brokers check none (no authorizer).
    """

    topics: Mapping[str, Topic] = field(default_factory=dict)
    rights: frozenset[Right] | None = frozenset()


@dataclass(frozen=True, slots=True)
class CreateTopic:
    topic: Topic

    def __str__(self) -> str:
        kept = "".join(f", {name}={value}" for name, value in sorted(self.topic.config.items()))
        return f"+ topic {self.topic.name}: {self.topic.partitions} partitions x {self.topic.replication}{kept}"


@dataclass(frozen=True, slots=True)
class AddPartitions:
    topic: str
    former: int
    wanted: int

    def __str__(self) -> str:
        return f"~ topic {self.topic}: {self.former} -> {self.wanted} partitions (keys move)"


@dataclass(frozen=True, slots=True)
class SetConfig:
    """`config` is all that is set afterwards: the protocol replaces the settings of a topic as a whole."""

    topic: str
    former: Mapping[str, str]
    config: Mapping[str, str]

    def __str__(self) -> str:
        names = sorted(n for n in {*self.former, *self.config} if self.former.get(n) != self.config.get(n))
        changed = [f"{n} {self.former.get(n, 'default')} -> {self.config.get(n, 'default')}" for n in names]
        return f"~ topic {self.topic}: {', '.join(changed)}"


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    topic: str

    def __str__(self) -> str:
        return f"- topic {self.topic} with its records"


@dataclass(frozen=True, slots=True)
class Grant:
    right: Right

    def __str__(self) -> str:
        return f"+ right {self.right}"


@dataclass(frozen=True, slots=True)
class Revoke:
    right: Right

    def __str__(self) -> str:
        return f"- right {self.right}"


Change = CreateTopic | AddPartitions | SetConfig | DeleteTopic | Grant | Revoke


@dataclass(frozen=True, slots=True)
class Comparison:
    """`changes` in the order they are safe in. One of `refusals` keeps them all back. `kept` is left to pruning."""

    changes: Sequence[Change] = ()
    refusals: Sequence[str] = ()
    kept: Sequence[Change] = ()


def compare(declaration: Declaration, state: State, *, prune: bool = False) -> Comparison:
    """What to do to get from `state` to `declaration`. Without rights in `state` none are compared."""
    creations: list[Change] = []
    alterations: list[Change] = []
    removals: list[Change] = []
    refusals: list[str] = []
    for topic in declaration.topics:
        there = state.topics.get(topic.name)
        if there is None:
            creations.append(CreateTopic(topic))
        elif refused := _refusal(topic, there):
            refusals.append(refused)
        else:
            added = {**there.config, **topic.config}
            alterations += _growth(topic, there) + _settings(topic.name, there.config, added)
            removals += _settings(topic.name, added, topic.config)
    if state.rights is not None:
        creations += [Grant(right) for right in sorted(declaration.rights - state.rights)]
        removals += [Revoke(right) for right in sorted(state.rights - declaration.rights) if _ours(right, declaration)]
    declared = {topic.name for topic in declaration.topics}
    removals += [DeleteTopic(name) for name in sorted(state.topics) if name.startswith(OURS) and name not in declared]
    changes = [*creations, *alterations]
    return Comparison([*changes, *removals], refusals) if prune else Comparison(changes, refusals, removals)


def _refusal(topic: Topic, there: Topic) -> str:
    if topic.partitions < there.partitions:
        return (
            f"topic {topic.name} has {there.partitions} partitions, {topic.partitions} are declared: partitions cannot "
            f"be taken away; declare {there.partitions}, or move to a topic of a new version"
        )
    if topic.replication != there.replication:
        return (
            f"topic {topic.name} has {there.replication} copies, {topic.replication} are declared: move them with "
            "kafka-reassign-partitions, or give --replication"
        )
    return ""


def _growth(topic: Topic, there: Topic) -> list[Change]:
    more = topic.partitions > there.partitions
    return [AddPartitions(topic.name, there.partitions, topic.partitions)] if more else []


def _settings(name: str, former: Mapping[str, str], wanted: Mapping[str, str]) -> list[Change]:
    return [SetConfig(name, former, wanted)] if dict(former) != dict(wanted) else []


def _ours(right: Right, declaration: Declaration) -> bool:
    return right.principal in declaration.principals or (right.kind == "Topic" and right.name.startswith(OURS))
