"""The CloudEvents project's own SDK reads what we write and writes what we read."""

from datetime import UTC, datetime

from cloudevents.core.bindings import http
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as PeerEvent

from mesh_messaging.envelope import from_http, from_record, to_headers

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "1",
    "source": "/hr/northwind",
    "type": "ucmesh.hr.person.v1.joined",
    "subject": "NW-1001",
    "time": datetime(2026, 11, 25, 8, 0, tzinfo=UTC),
    "datacontenttype": "application/json",
    "tenant": "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11",
}
DATA = {"given_name": "Zoë", "surname": "Müller"}


def test_a_structured_event_of_the_peer_is_read() -> None:
    message = http.to_structured_event(PeerEvent(ATTRIBUTES, DATA), JSONFormat())
    (event,) = from_http(message.headers, message.body)
    assert (event.id, event.source, event.type, event.subject) == ("1", "/hr/northwind", ATTRIBUTES["type"], "NW-1001")
    assert event.tenant == ATTRIBUTES["tenant"]
    assert event.time == ATTRIBUTES["time"]
    assert event.json() == DATA


def test_a_binary_event_of_the_peer_is_read() -> None:
    message = http.to_binary_event(PeerEvent(ATTRIBUTES, DATA), JSONFormat())
    (event,) = from_http(message.headers, message.body)
    assert event.subject == "NW-1001"
    assert event.json() == DATA


def test_the_peer_reads_our_kafka_headers() -> None:
    message = http.to_structured_event(PeerEvent(ATTRIBUTES, DATA), JSONFormat())
    (event,) = from_http(message.headers, message.body)
    headers = to_headers(event)
    assert from_record(headers, event.data).id == event.id
    again = from_binary_event(KafkaMessage(dict(headers), b"key", event.data), JSONFormat())
    assert again.get_id() == "1"
    assert again.get_subject() == "NW-1001"
    assert again.get_extension("tenant") == ATTRIBUTES["tenant"]
    assert again.get_data() == DATA


def test_a_kafka_record_of_the_peer_is_read() -> None:
    record = to_binary_event(PeerEvent(ATTRIBUTES, DATA), JSONFormat())
    event = from_record(list(record.headers.items()), record.value)
    assert (event.id, event.subject, event.tenant) == ("1", "NW-1001", ATTRIBUTES["tenant"])
    assert event.json() == DATA
