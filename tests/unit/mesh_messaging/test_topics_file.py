"""The topics file: what it may say, and which topics and rights follow from it."""

from pathlib import Path
from textwrap import dedent

import pytest

from mesh_messaging.topics import Declaration, Right, load
from mesh_runtime.errors import InvalidInput

FILE = """
    defaults:
      partitions: 6
      replication: 3
      config: {retention.ms: 1000, min.insync.replicas: 2, unclean.leader.election.enable: false}
    dead_letters:
      partitions: 1
      config: {retention.ms: 5000}
    observers: [watcher]
    topics:
      ucmesh.test.things.v1:
        producers: [maker]
        consumers: [taker]
      ucmesh.test.news.v1:
        partitions: 2
        readers: [outside]
    """


def read(folder: Path, text: str) -> Declaration:
    file = folder / "topics.yaml"
    file.write_text(dedent(text))
    return load(file)


def test_every_consumer_gets_a_dead_letter_topic_and_readers_none(tmp_path: Path) -> None:
    topics = {topic.name: topic for topic in read(tmp_path, FILE).topics}
    shapes = {name: (topic.partitions, topic.replication) for name, topic in topics.items()}
    assert shapes == {
        "ucmesh.test.things.v1": (6, 3),
        "ucmesh.test.things.v1.taker.dlq": (1, 3),
        "ucmesh.test.news.v1": (2, 3),
    }
    assert topics["ucmesh.test.things.v1"].config == {
        "retention.ms": "1000",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
    }
    assert topics["ucmesh.test.things.v1.taker.dlq"].config["retention.ms"] == "5000"


def test_rights_follow_from_who_writes_and_who_reads(tmp_path: Path) -> None:
    things, letters, news = "ucmesh.test.things.v1", "ucmesh.test.things.v1.taker.dlq", "ucmesh.test.news.v1"
    maker, taker, outside, watcher = "User:maker", "User:taker", "User:outside", "User:watcher"
    assert read(tmp_path, FILE).rights == {
        Right(maker, "Write", "Topic", things),
        Right(maker, "IdempotentWrite", "Cluster", "kafka-cluster"),
        Right(taker, "Read", "Topic", things),
        Right(taker, "Read", "Group", "taker"),
        Right(taker, "Write", "Topic", letters),
        Right(taker, "IdempotentWrite", "Cluster", "kafka-cluster"),
        Right(outside, "Read", "Topic", news),
        Right(outside, "Read", "Group", "outside"),
        *(Right(watcher, "Describe", "Topic", name) for name in (things, letters, news)),
        *(Right(watcher, "Describe", "Group", name) for name in ("taker", "outside")),
    }


def test_a_bulk_topic_is_read_as_a_group_of_its_own(tmp_path: Path) -> None:
    things, taker = "ucmesh.test.things.v1", "User:taker"
    rights = read(tmp_path, FILE.replace("consumers: [taker]", "consumers: [taker]\n        bulk: true")).rights
    assert Right(taker, "Read", "Group", "taker-bulk") in rights
    assert Right(taker, "Read", "Group", "taker") not in rights
    assert Right("User:watcher", "Describe", "Group", "taker-bulk") in rights
    assert Right(taker, "Write", "Topic", f"{things}.taker.dlq") in rights


def test_fewer_copies_than_must_be_in_sync_lower_that_number(tmp_path: Path) -> None:
    one = read(tmp_path, FILE).with_replication(1)
    assert {(topic.replication, topic.config["min.insync.replicas"]) for topic in one.topics} == {(1, "1")}
    three = read(tmp_path, FILE).with_replication(3)
    assert {topic.config["min.insync.replicas"] for topic in three.topics} == {"2"}


@pytest.mark.parametrize(
    ("former", "instead", "said"),
    [
        ("ucmesh.test.things.v1:", "things:", "topics.topic 'things' is not ucmesh"),
        ("partitions: 6", "partitions: 0", "defaults.partitions"),
        ("replication: 3", "copies: 3", "defaults.replication: Field required"),
        ("producers: [maker]", "producer: [maker]", "topics.ucmesh.test.things.v1.producer: Extra inputs"),
        ("producers: [maker]", "producers: ['User:maker']", "topics.ucmesh.test.things.v1.producers.0"),
        ("topics:", "topics: [", "topics.yaml"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, former: str, instead: str, said: str) -> None:
    assert former in FILE
    with pytest.raises(InvalidInput) as refused:
        read(tmp_path, FILE.replace(former, instead))
    assert "topics.yaml is no topics file" in refused.value.message
    assert said in refused.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")
