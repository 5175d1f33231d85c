"""The envelope in Kafka headers: what is written, what is read, and every kind of input that is refused."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_messaging.envelope import DATA_BYTES_MAX, CloudEvent, InvalidEnvelope, from_record, new_event, to_headers
from mesh_runtime import telemetry
from mesh_runtime.clock import ManualClock, SequentialIds

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS = {
    "ce_specversion": b"1.0",
    "ce_id": b"e1",
    "ce_source": b"/hr/northwind",
    "ce_type": b"ucmesh.hr.person.v1.joined",
    "ce_time": b"2026-11-25T10:00:00.123456Z",
    "content-type": b"application/json",
}


def headers(**changes: bytes | None) -> list[tuple[str, bytes]]:
    """The valid headers with changes; None drops one."""
    return [(name, value) for name, value in (HEADERS | changes).items() if value is not None]


def test_an_event_survives_the_way_through_a_record() -> None:
    event = CloudEvent(
        "e1",
        "/hr/northwind",
        "ucmesh.hr.person.v1.joined",
        datetime(2026, 11, 25, 10, 0, 0, 123456, tzinfo=UTC),
        "NW-1001",
        "6f0c7f64-0000-4000-8000-000000000001",
        '{"name": "Žofie 李"}'.encode(),
        TRACE,
        {"lane": "urgent"},
    )
    assert from_record(to_headers(event), event.data) == event


@given(
    st.builds(
        CloudEvent,
        id=st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=50),
        source=st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=50),
        type=st.just("ucmesh.hr.person.v1.joined"),
        time=st.datetimes(timezones=st.just(UTC)),
        subject=st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=50),
        tenant=st.none() | st.just("t"),
        data=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(0, 99)).map(orjson.dumps),
        traceparent=st.none() | st.just(TRACE),
        extensions=st.dictionaries(
            st.from_regex(r"x[a-z0-9]{1,10}", fullmatch=True), st.text(st.characters(categories=["L"])), max_size=4
        ),
    )
)
def test_any_valid_event_survives_the_way_through_a_record(event: CloudEvent) -> None:
    assert from_record(to_headers(event), event.data) == event


def test_a_new_event_gets_id_time_and_the_current_trace() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    with telemetry.recording(), telemetry.span("outer"):
        trace = telemetry.current_traceparent()
        made = new_event("ucmesh.a.b.v1.did", "/a", {"x": 1}, subject="s", tenant="t", ids=SequentialIds(), clock=clock)
    assert (made.id, made.time, made.traceparent) == (str(SequentialIds().new()), clock.now(), trace)
    assert (made.subject, made.tenant, made.json()) == ("s", "t", {"x": 1})


def test_a_new_event_can_stay_in_the_trace_of_its_cause() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    made = new_event("ucmesh.a.b.v1.did", "/a", b"{}", ids=SequentialIds(), clock=clock, traceparent=TRACE)
    assert made.traceparent == TRACE


def test_a_new_event_beyond_the_limits_is_refused() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    big = orjson.dumps("x" * DATA_BYTES_MAX)
    with pytest.raises(InvalidEnvelope, match="larger than"):
        new_event("ucmesh.a.b.v1.did", "/a", big, ids=SequentialIds(), clock=clock)
    with pytest.raises(InvalidEnvelope, match="not JSON"):
        new_event("ucmesh.a.b.v1.did", "/a", b"{", ids=SequentialIds(), clock=clock)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ce_specversion": None}, "specversion is missing"),
        ({"ce_specversion": b"0.3"}, "specversion is not 1.0"),
        ({"ce_id": None}, "attribute id is missing"),
        ({"ce_id": b""}, "attribute id is missing"),
        ({"ce_source": None}, "attribute source is missing"),
        ({"ce_type": None}, "attribute type is missing"),
        ({"ce_id": b"a\x00b"}, "control characters"),
        ({"ce_subject": b"a\nb"}, "control characters"),
        ({"ce_id": b"\xff\xfe"}, "ce_id is not UTF-8"),
        ({"ce_subject": b"x" * 1025}, "longer than 1024"),
        ({"ce_time": b"yesterday"}, "not RFC 3339"),
        ({"ce_time": b"2026-11-25"}, "not RFC 3339"),
        ({"ce_time": b"2026-11-25T10:00:00"}, "not RFC 3339"),
        ({"ce_time": b"2026-13-25T10:00:00Z"}, "not RFC 3339"),
        ({"ce_time": b"0001-01-01T00:00:00+14:00"}, "not RFC 3339"),
        ({"ce_Lane": b"x"}, None),
        ({"ce_la-ne": b"x"}, "not lower-case letters and digits"),
        ({"ce_": b"x"}, "not lower-case letters and digits"),
        ({"content-type": b"text/plain"}, "not JSON in UTF-8"),
        ({"content-type": b"application/json; charset=latin1"}, "not JSON in UTF-8"),
    ],
)
def test_headers_off_the_specification_are_refused_with_the_reason(
    change: dict[str, bytes | None], reason: str | None
) -> None:
    if reason is None:
        assert from_record(headers(**change), b"{}").extensions == {"lane": "x"}
        return
    with pytest.raises(InvalidEnvelope, match=reason) as refused:
        from_record(headers(**change), b"{}")
    assert refused.value.code == "invalid-envelope"
    assert refused.value.retryable is False


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'"\xff"', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'"' + b"x" * DATA_BYTES_MAX + b'"', "larger than"),
    ],
)
def test_payloads_that_are_no_json_are_refused(value: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidEnvelope, match=reason):
        from_record(headers(), value)


def test_no_headers_at_all_is_refused() -> None:
    with pytest.raises(InvalidEnvelope, match="specversion is missing"):
        from_record([], b"{}")


def test_an_attribute_given_twice_is_refused() -> None:
    with pytest.raises(InvalidEnvelope, match="given twice"):
        from_record([*headers(), ("ce_id", b"e2")], b"{}")


def test_too_many_extensions_are_refused() -> None:
    many = [(f"ce_x{n}", b"1") for n in range(33)]
    with pytest.raises(InvalidEnvelope, match="more than 32"):
        from_record([*headers(), *many], b"{}")


def test_foreign_headers_and_unknown_types_pass() -> None:
    read = from_record([*headers(ce_type=b"com.example.thing"), ("x-foreign", b"\xff\x00")], b"[1]")
    assert (read.type, read.extensions) == ("com.example.thing", {})


def test_an_absent_time_is_the_time_of_receipt() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert from_record(headers(ce_time=None), b"{}", received_at=moment).time == moment


def test_a_time_with_an_offset_becomes_utc() -> None:
    read = from_record(headers(ce_time=b"2026-11-25T10:00:00+02:00"), b"{}")
    assert read.time == datetime(2026, 11, 25, 10, tzinfo=timezone(timedelta(hours=2)))
    assert read.time.tzinfo is UTC


@pytest.mark.parametrize(
    "trace", [b"", b"garbage", b"00-0-0-0", b"\xff", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", b"01-x"]
)
def test_a_malformed_trace_is_dropped_and_the_event_kept(trace: bytes) -> None:
    assert from_record([*headers(), ("traceparent", trace)], b"{}").traceparent is None


def test_the_trace_may_come_as_an_extension_attribute() -> None:
    assert from_record(headers(ce_traceparent=TRACE.encode()), b"{}").traceparent == TRACE


def test_a_structured_record_is_read_too() -> None:
    document = {"specversion": "1.0", "id": "e1", "source": "/s", "type": "t.v1", "data": {"a": 1}, "tenant": "x"}
    read = from_record(
        [("content-type", b"application/cloudevents+json; charset=utf-8"), ("traceparent", TRACE.encode())],
        orjson.dumps(document),
    )
    assert (read.id, read.tenant, read.json(), read.traceparent) == ("e1", "x", {"a": 1}, TRACE)


@given(
    st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=20)), max_size=6), st.none() | st.binary(max_size=30)
)
def test_no_bytes_raise_anything_but_an_invalid_envelope(
    given_headers: list[tuple[str, bytes]], value: bytes | None
) -> None:
    with contextlib.suppress(InvalidEnvelope):
        from_record(given_headers, value)
