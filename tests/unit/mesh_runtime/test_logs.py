"""Log lines: one JSON object each, joined to the trace, and without secrets."""

import json
import logging
import timeit

import pytest
import structlog
from pydantic import SecretStr

from mesh_runtime import logs, telemetry


@pytest.fixture
def lines(capsys):
    """Configured logging; a function returning the lines written so far, parsed."""
    logs.configure("sample", "INFO")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()
    logging.getLogger().handlers = []


def test_a_line_says_when_where_and_what(lines):
    logs.get_logger("sample.part").info("thing.done", count=3)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "thing.done", "count": 3, "level": "info", "service": "sample", "logger": "sample.part"}


def test_a_line_below_the_level_is_not_written(lines):
    logs.get_logger("x").debug("quiet")
    assert lines() == []


def test_a_line_names_the_current_trace(lines):
    with telemetry.recording() as spans, telemetry.span("work"):
        logs.get_logger("x").info("inside")
    logs.get_logger("x").info("outside")
    inside, outside = lines()
    context = spans.named("work")[0].context
    assert inside["trace_id"] == format(context.trace_id, "032x")
    assert inside["span_id"] == format(context.span_id, "016x")
    assert "trace_id" not in outside


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "client_secret",
        "access_token",
        "Authorization",
        "private_key_pem",
        "pfx",
        "client_assertion",
        "api_key",
    ],
)
def test_values_of_telling_keys_are_masked_at_any_depth(lines, key):
    logs.get_logger("x").info("e", **{key: "hunter2"}, nested={"list": [{key: "hunter2"}]}, other="kept")
    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert line[key] == logs.MASK
    assert line["nested"] == {"list": [{key: logs.MASK}]}
    assert line["other"] == "kept"


def test_secret_types_and_recognisable_texts_are_masked(lines):
    logs.get_logger("x").info(
        "connecting to postgresql://app:hunter2@db/x",
        value=SecretStr("hunter2"),
        header="Bearer hunter2.abc",
        jwt="failed: eyJhbGciOi.eyJpc3Mi.hunter2",
        blob=b"hunter2",
    )
    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert line["event"] == "connecting to postgresql://***@db/x"
    assert line["blob"] == "<7 bytes>"


def test_exceptions_are_logged_with_their_trace_and_without_url_credentials(lines):
    def reach() -> None:
        raise RuntimeError("cannot reach https://user:hunter2@proxy.example")

    try:
        reach()
    except RuntimeError:
        logs.get_logger("x").exception("failed")
    (line,) = lines()
    assert line["level"] == "error"
    assert "RuntimeError" in line["exception"]
    assert "hunter2" not in line["exception"]


def test_the_standard_library_s_loggers_have_the_same_shape(lines):
    logging.getLogger("some.library").warning("lost %s", "postgresql://a:hunter2@b", extra={"token": "hunter2"})
    logging.getLogger("httpx").info("chatter")
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("lost postgresql://***@b", "some.library", "warning")
    assert line["token"] == logs.MASK


def test_a_value_json_does_not_know_never_breaks_a_line(lines):
    loop: dict[str, object] = {}
    loop["self"] = loop
    logs.get_logger("x").info("odd", thing=object(), loop=loop, long="x" * 100_000, keys={1: 2})
    (line,) = lines()
    assert line["thing"].startswith("<object")
    assert len(line["long"]) < 20_000
    assert line["keys"] == {"1": 2}


def test_a_disabled_level_costs_next_to_nothing(lines):
    logger = logs.get_logger("x")
    logger.debug("warm")
    assert min(timeit.repeat(lambda: logger.debug("e", a=1), number=10_000, repeat=5)) / 10_000 < 5e-6


def test_an_unknown_level_is_an_error():
    with pytest.raises(KeyError):
        logs.configure("sample", "LOUD")
