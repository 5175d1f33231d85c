"""CloudEvents over HTTP: structured, batch, binary; one bad event never costs the others."""

import base64
from typing import Any

import orjson
import pytest

from mesh_messaging.envelope import (
    BATCH_EVENT_COUNT_MAX,
    CloudEvent,
    EnvelopeError,
    InvalidEnvelope,
    from_http,
)
from mesh_runtime.errors import TooLarge

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def document(**changes: Any) -> dict[str, Any]:
    base = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/hr/northwind",
        "type": "ucmesh.hr.person.v1.joined",
        "time": "2026-11-25T10:00:00Z",
        "data": {"employee_id": "NW-1"},
    }
    return {name: value for name, value in (base | changes).items() if value is not ...}


def test_a_structured_request_is_one_event() -> None:
    (read,) = from_http(STRUCTURED | {"traceparent": TRACE}, orjson.dumps(document(subject="NW-1", sequence=7)))
    assert isinstance(read, CloudEvent)
    assert (read.id, read.subject, read.json(), read.traceparent) == ("e1", "NW-1", {"employee_id": "NW-1"}, TRACE)
    assert read.extensions == {"sequence": "7"}


def test_a_binary_request_is_one_event_with_percent_decoding() -> None:
    headers = {
        "CE-SpecVersion": "1.0",
        "ce-id": "e1",
        "ce-source": "/hr/z%C3%BCrich",
        "ce-type": "t.v1",
        "Content-Type": "application/json",
    }
    (read,) = from_http(headers, b'{"a": 1}')
    assert isinstance(read, CloudEvent)
    assert (read.source, read.json()) == ("/hr/zürich", {"a": 1})


def test_one_bad_event_of_a_batch_does_not_cost_the_others() -> None:
    bad = [document(id=...), 7, document(time="soon"), None, document(data=...), {"id": {}}]
    body = orjson.dumps([document(id="a"), *bad, document(id="z")])
    read = from_http(BATCH, body)
    good = [item.id for item in read if isinstance(item, CloudEvent)]
    errors = [item for item in read if isinstance(item, EnvelopeError)]
    assert good == ["a", "z"]
    assert [error.index for error in errors] == [1, 2, 3, 4, 5, 6]
    assert [orjson.loads(error.raw) for error in errors] == bad
    assert errors[0].reason == "attribute id is missing"
    assert all(error.reason for error in errors)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "2.0"}, "specversion is not 1.0"),
        ({"id": ""}, "id is missing"),
        ({"id": None}, "id is missing"),
        ({"source": ["/x"]}, "neither text"),
        ({"Type": "x"}, "not lower-case"),
        ({"data": ...}, "no data"),
        ({"data_base64": "e30="}, "exclude each other"),
        ({"data": ..., "data_base64": "%%%"}, "not base64"),
        ({"data": ..., "data_base64": 7}, "not base64"),
        ({"data": ..., "data_base64": base64.b64encode(b"{").decode()}, "not JSON"),
        ({"datacontenttype": "text/xml"}, "not JSON in UTF-8"),
        ({"subject": "a\u0000b"}, "control characters"),
    ],
)
def test_a_bad_structured_event_comes_back_with_its_reason_and_bytes(changes: dict[str, Any], reason: str) -> None:
    body = orjson.dumps(document(**changes))
    (error,) = from_http(STRUCTURED, body)
    assert isinstance(error, EnvelopeError)
    assert (error.index, error.raw) == (0, body)
    assert reason in error.reason


def test_data_base64_is_decoded() -> None:
    (read,) = from_http(STRUCTURED, orjson.dumps(document(data=..., data_base64=base64.b64encode(b'{"a":1}').decode())))
    assert isinstance(read, CloudEvent)
    assert read.json() == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]"])
def test_a_structured_body_that_is_no_object_comes_back_as_an_error(body: bytes) -> None:
    (error,) = from_http(STRUCTURED, body)
    assert isinstance(error, EnvelopeError)
    assert error.raw == body


@pytest.mark.parametrize(
    "changes",
    [
        {"ce-specversion": "0.3"},
        {"ce-id": "%ff"},
        {"content-type": "text/plain"},
        {"ce-time": "x"},
        {"ce-bad_name": "x"},
    ],
)
def test_a_bad_binary_request_comes_back_as_an_error(changes: dict[str, str]) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "e1",
        "ce-source": "/s",
        "ce-type": "t",
        "content-type": "application/json",
    }
    (error,) = from_http(headers | changes, b"{}")
    assert isinstance(error, EnvelopeError)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({"content-type": "application/json"}, b"{}"),
        (BATCH, b"{}"),
        (BATCH, b"not json"),
        (BATCH, b'"text"'),
    ],
)
def test_a_request_that_cannot_be_read_as_a_whole_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(InvalidEnvelope):
        from_http(headers, body)


def test_a_batch_beyond_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        from_http(BATCH, b"[" + b",".join([b"1"] * (BATCH_EVENT_COUNT_MAX + 1)) + b"]")


def test_an_empty_batch_has_no_events() -> None:
    assert from_http(BATCH, b"[]") == []
