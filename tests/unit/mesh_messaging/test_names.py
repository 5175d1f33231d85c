"""Names of dead-letter topics."""

import pytest

from mesh_messaging.names import dead_letter_topic
from mesh_runtime.errors import InvalidInput


def test_a_dead_letter_topic_names_topic_and_consumer() -> None:
    assert (
        dead_letter_topic("ucmesh.graph.commands.v1", "graph-adapter") == "ucmesh.graph.commands.v1.graph-adapter.dlq"
    )


@pytest.mark.parametrize(("topic", "consumer"), [("t", "Graph"), ("t", ""), ("t", "a.b"), ("t" * 245, "x")])
def test_a_dead_letter_topic_kafka_would_refuse_is_refused(topic: str, consumer: str) -> None:
    with pytest.raises(InvalidInput):
        dead_letter_topic(topic, consumer)
