"""The grammar of types and topics."""

import pytest

from mesh_messaging.names import EventType, check_topic, dead_letter_topic, parse_type
from mesh_runtime.errors import InvalidInput


def test_a_type_is_read_into_its_parts_and_written_back() -> None:
    parsed = parse_type("ucmesh.hr.person.v12.joined")
    assert parsed == EventType("hr", "person", 12, "joined")
    assert str(parsed) == "ucmesh.hr.person.v12.joined"
    assert parse_type("ucmesh.cert-manager.replies.v1.ensure-key").area == "cert-manager"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ucmesh",
        "ucmesh.hr.person.joined",
        "ucmesh.hr.person.v0.joined",
        "ucmesh.hr.person.v01.joined",
        "ucmesh.hr.person.v1.joined.again",
        "ucmesh.HR.person.v1.joined",
        "ucmesh.hr.person.v1.joined\n",
        " ucmesh.hr.person.v1.joined",
        "ucmesh.hr..v1.joined",
        "ucmesh.hr.per_son.v1.joined",
        "ucmesh.hr.-person.v1.joined",
        "ucmesh.hr.person-.v1.joined",
        "ucmesh.hr.person.v99999.joined",
        "org.hr.person.v1.joined",
        "ucmesh.hr.pérson.v1.joined",
    ],
)
def test_a_type_off_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_type(name)
    assert refused.value.code == "invalid-event-type"


@pytest.mark.parametrize(
    "name", ["ucmesh.certificates.v1", "ucmesh.graph.commands.v1", "ucmesh.cert-manager.replies.v2"]
)
def test_topics_of_the_mesh_are_accepted(name: str) -> None:
    assert check_topic(name) == name


@pytest.mark.parametrize(
    "name", ["", "ucmesh.graph", "graph.commands.v1", "ucmesh.a.b.c.v1", "ucmesh.graph.commands.v1.x"]
)
def test_other_topics_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_topic(name)


def test_a_dead_letter_topic_names_topic_and_consumer() -> None:
    assert (
        dead_letter_topic("ucmesh.graph.commands.v1", "graph-adapter") == "ucmesh.graph.commands.v1.graph-adapter.dlq"
    )


@pytest.mark.parametrize(("topic", "consumer"), [("t", "Graph"), ("t", ""), ("t", "a.b"), ("t" * 245, "x")])
def test_a_dead_letter_topic_kafka_would_refuse_is_refused(topic: str, consumer: str) -> None:
    with pytest.raises(InvalidInput):
        dead_letter_topic(topic, consumer)
