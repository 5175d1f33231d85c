"""deploy/kafka/topics.yaml agrees with the contracts and with what the services say they consume."""

import inspect
from typing import Any

import pytest
import yaml

from mesh_messaging.consumer import BatchConsumer
from mesh_messaging.topics import load
from support import declared
from support.real_parts import ROOT
from ucmesh_embedded import topology

FILE: dict[str, Any] = yaml.safe_load(topology.TOPICS_FILE.read_text())
MESSAGES: list[dict[str, Any]] = yaml.safe_load((ROOT / "contracts" / "messages.yaml").read_text())["topics"]


def test_it_names_the_topics_of_the_contracts() -> None:
    assert set(FILE["topics"]) == {entry["topic"] for entry in MESSAGES}


@pytest.mark.parametrize("service", topology.SERVICES)
def test_a_service_may_read_and_write_what_its_code_names(service: str) -> None:
    code = declared.services()[service]
    rights = load(topology.TOPICS_FILE).rights
    mine = {(right.operation, right.name) for right in rights if right.principal == f"User:{service}"}
    groups = {code.group_of(topic) for topic in code.consumes}
    assert {name for operation, name in mine if operation == "Read"} == {*code.consumes, *groups}
    assert {name for operation, name in mine if operation == "Write"} == code.topics_written()


def test_consumers_are_services_and_everybody_else_is_a_reader() -> None:
    consumers = {name for topic in FILE["topics"].values() for name in topic.get("consumers", [])}
    assert consumers <= {*topology.SERVICES}
    readers = {name for topic in FILE["topics"].values() for name in topic.get("readers", [])}
    assert not readers & {*topology.SERVICES}


def test_no_record_outlives_the_memory_of_an_inbox() -> None:
    remembered = inspect.signature(BatchConsumer).parameters["inbox_keep"].default.total_seconds() * 1000
    for topic in load(topology.TOPICS_FILE).topics:
        if not topic.name.endswith(".dlq"):
            assert int(topic.config["retention.ms"]) < remembered, topic.name
