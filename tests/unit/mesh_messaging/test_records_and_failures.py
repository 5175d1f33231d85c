"""Bytes kept without loss, failures read rightly, the ladder's arithmetic, a message's trace."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import DBAPIError

from mesh_messaging.envelope import CloudEvent
from mesh_messaging.failures import classify
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.message import InboundMessage, read_delivery
from mesh_messaging.outbox import shard_of
from mesh_messaging.records import RawRecord, digest, dump_headers, fingerprint, key_text, load_headers
from mesh_messaging.schema import SHARD_COUNT
from mesh_runtime.errors import InvalidInput, Refused, Unavailable
from mesh_runtime.faults import FaultInjected

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.lists(st.tuples(st.text(st.characters(exclude_characters="\x00", codec="utf-8")), st.binary())))
def test_headers_are_kept_byte_by_byte(headers: list[tuple[str, bytes]]) -> None:
    stored = dump_headers(headers)
    assert load_headers(stored) == headers
    texts = [text for pair in orjson.loads(stored) for text in pair if isinstance(text, str)]
    assert not [text for text in texts if "\0" in text], "PostgreSQL holds no NUL in text"


def test_the_digest_tells_contents_apart_and_ignores_the_trace() -> None:
    def record(**changes: object) -> RawRecord:
        fields = {"key": b"k", "headers": (("ce_id", b"1"),), "value": b"v"} | changes
        return RawRecord(topic="t", partition=0, offset=0, **fields)  # type: ignore[arg-type]

    same = {digest(record()), digest(record(headers=(("ce_id", b"1"), ("traceparent", b"x"))))}
    assert len(same) == 1
    others = [record(key=b"kv", value=b""), record(key=None), record(value=None), record(headers=())]
    assert len({*same, *map(digest, others)}) == 5


def test_keys_that_are_no_text_stay_readable() -> None:
    assert key_text(b"\xffa") == "\\xffa"
    assert key_text(None) is None
    assert 0 <= shard_of(None) < SHARD_COUNT


class _Model(BaseModel):
    name: str = Field(max_length=3)


def _validation_error() -> ValidationError:
    try:
        _Model(name="secret value")
    except ValidationError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InvalidInput("x"), "permanent", "invalid-input"),
        (Refused("x", code="no-seats"), "permanent", "no-seats"),
        (Unavailable("x"), "retryable", "unavailable"),
        (Refused("x", retryable=True), "retryable", "refused"),
        (Unavailable("x", code="database-unavailable"), "transient", "database-unavailable"),
        (Unavailable("x", code="database-contention"), "transient", "database-contention"),
        (FaultInjected("x"), "transient", "fault-injected"),
        (_validation_error(), "permanent", "invalid-input"),
        (ZeroDivisionError("x"), "retryable", "unexpected"),
        (
            DBAPIError("SELECT :secret", {"secret": "value"}, Exception("value out of range")),
            "retryable",
            "database-error",
        ),
    ],
)
def test_an_exception_says_what_becomes_of_the_message(error: Exception, kind: str, code: str) -> None:
    failure = classify(error)
    assert (failure.kind, failure.code) == (kind, code)


def test_reasons_hold_no_input_values_and_fit_the_database() -> None:
    assert "secret value" not in classify(_validation_error()).message
    assert "name" in classify(_validation_error()).message
    assert "secret" not in classify(DBAPIError("SELECT :secret", {"secret": "v"}, Exception("out of range"))).message
    odd = classify(ValueError("a\x00b\ud800" + "x" * 5000)).message
    assert len(odd) <= 2000
    assert "\x00" not in odd
    odd.encode()


def test_failures_of_one_place_share_a_fingerprint() -> None:
    def fail(text: str) -> Exception:
        with pytest.raises(ValueError, match=text) as failed:
            int(text)
        return failed.value

    assert fingerprint(fail("a")) == fingerprint(fail("b"))
    assert fingerprint(fail("a")) != fingerprint(ValueError("a"))


def test_the_ladder_ends() -> None:
    ladder = RetryLadder((1, 5))
    assert ladder.due_after(1, NOW) == NOW + timedelta(seconds=1)
    assert ladder.due_after(2, NOW) == NOW + timedelta(seconds=5)
    assert ladder.due_after(3, NOW) is None
    assert RetryLadder(()).due_after(1, NOW) is None
    with pytest.raises(ValueError, match="rungs"):
        RetryLadder((-1,))


def test_a_message_leads_back_into_its_trace() -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    event = CloudEvent("1", "/s", "t", NOW, None, None, b"{}", traceparent)
    context = trace.get_current_span(InboundMessage("t", 0, 0, None, event, NOW).context).get_span_context()
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == tuple(traceparent.split("-")[1:3])
    assert context.is_remote
    untraced = InboundMessage("t", 0, 0, None, CloudEvent("1", "/s", "t", NOW, None, None, b"{}"), NOW)
    assert not trace.get_current_span(untraced.context).get_span_context().is_valid


def test_a_broken_record_is_a_delivery_known_by_place_and_content() -> None:
    first, second = (read_delivery(RawRecord("t", 1, n, None, (), b"x"), NOW) for n in (5, 6))
    assert first.message is None
    assert first.failure is not None
    assert first.failure.code == "invalid-envelope"
    assert first.identity[0] == "kafka:t/1"
    assert first.identity != second.identity
