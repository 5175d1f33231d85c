"""Structured logs: one JSON object a line on stderr, joined to the current trace, with secrets masked.

Owns the shape of a log line and the masking. Refuses to log the value of anything that looks like a secret by name or
by type.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

import orjson
import structlog
from opentelemetry import trace
from pydantic import SecretBytes, SecretStr
from structlog.typing import FilteringBoundLogger, WrappedLogger

MASK = "***"
VALUE_DEPTH_MAX = 6
VALUE_LENGTH_MAX = 16_384

_SECRET_KEY = re.compile(
    r"password|secret|token|authorization|private_?key|pfx|assertion|api_?key|cookie", re.IGNORECASE
)
_SECRET_TEXT = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]*(?=@)|(?<=Bearer )[\w.~+/=-]+|\beyJ[\w-]+\.[\w-]+\.[\w.-]*")

EventDict = MutableMapping[str, Any]


class _StderrLogger:
    """Writes whole lines to the stderr of the moment, so a replaced stream (tests, daemons) is honoured."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")

    log = debug = info = warning = error = critical = exception = msg


def configure(service: str, level: str = "INFO") -> None:
    """Sets up structlog and routes the standard library's loggers through the same shape. Call once, in main."""
    number = logging.getLevelNamesMapping()[level.upper()]

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_trace,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _mask_event,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_StderrLogger,
        cache_logger_on_first_use=True,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    # Their INFO is per request or per rebalance chatter that our own events cover.
    for noisy in ("httpx", "httpcore", "uvicorn.access", "aiokafka", "alembic"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger: name`. Cheap to make at import; binds to the configuration at first use."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def mask(value: object, depth: int = 0) -> object:
    """A copy of `value` without secrets: by key name, by type, and by text (credentials in URLs, bearer tokens)."""
    if isinstance(value, str):
        return _mask_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if depth >= VALUE_DEPTH_MAX:
        return "..."
    if isinstance(value, Mapping):
        return {
            str(key): MASK if _is_secret(str(key)) and item is not None else mask(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item, depth + 1) for item in value]
    return value


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


@lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _mask_text(text: str) -> str:
    if len(text) > VALUE_LENGTH_MAX:
        text = text[:VALUE_LENGTH_MAX] + "..."
    # Both patterns need one of these; the scan is much cheaper than the regular expression.
    if "@" in text or "Bearer " in text or "eyJ" in text:
        return _SECRET_TEXT.sub(MASK, text)
    return text


def _mask_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if type(value) is int or value is None:
            continue
        if _is_secret(key):
            event[key] = MASK
        else:
            event[key] = mask(value)
    return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event


def _add_logger_name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    event["logger"] = record.name if isinstance(record, logging.LogRecord) else logger.name
    return event


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=_text, option=orjson.OPT_NON_STR_KEYS).decode()


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(bytes(value))} bytes>"
    return _mask_text(str(value))
