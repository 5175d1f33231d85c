"""The session protocol: requests as plain lines in, frames `\\x1e{json}\\n` out. No IO here: bytes in, events out.

Owns framing, limits and the reading of replies. Refuses to trust the stream: anything before a record separator is
noise of a module, a line beyond the limit ends the session, and a reply counts only under the unguessable id of the
request in flight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

RECORD_SEPARATOR = b"\x1e"
LINE_BYTES_MAX = 8 * 1024 * 1024
NOISE_BYTES_MAX = 2000
WARNING_COUNT_MAX = 50
TEXT_LENGTH_MAX = 4000

TENANT_MISMATCH = "UcmeshTenantMismatch"
TIMEOUT = "UcmeshTimeout"


@dataclass(frozen=True, slots=True)
class Frame:
    """One reply of the host, as parsed JSON."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Noise:
    """Something on stdout that is not a frame; shortened. For the log only."""

    text: str


@dataclass(frozen=True, slots=True)
class Overflow:
    """A line longer than the limit: the stream cannot be trusted any more."""

    size_bytes: int


class FrameReader:
    """Cuts stdout into frames and noise. Holds at most `line_bytes_max` bytes."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame | Noise | Overflow]:
        """Takes the next bytes and gives what they complete, in order; nothing after an Overflow."""
        events: list[Frame | Noise | Overflow] = []
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if len(line) > self._line_bytes_max:
                return [*events, Overflow(len(line))]
            events.extend(_parse(line))
        if len(self._buffer) > self._line_bytes_max:
            return [*events, Overflow(len(self._buffer))]
        return events


def _parse(line: bytes) -> list[Frame | Noise | Overflow]:
    noise, separator, body = line.rpartition(RECORD_SEPARATOR)
    events: list[Frame | Noise | Overflow] = []
    if not separator:
        noise, body = body, b""
    if noise.strip():
        events.append(Noise(noise[:NOISE_BYTES_MAX].decode(errors="replace")))
    if separator:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        if isinstance(parsed, dict) and isinstance(parsed.get("id"), str):
            events.append(Frame(parsed))
        else:
            events.append(Noise(body[:NOISE_BYTES_MAX].decode(errors="replace")))
    return events


@dataclass(frozen=True, slots=True)
class Invocation:
    """One cmdlet call: a name of the catalogue and values bound as objects, never text.

    `fields` are the properties to read (None for calls whose output is not wanted). `writes` tells whether the
    tenant may be changed by it, so whether losing the answer leaves the state unknown.
    """

    cmdlet: str
    params: Mapping[str, Any]
    fields: tuple[str, ...] | None = None
    writes: bool = False


@dataclass(frozen=True, slots=True)
class CmdletError:
    """An error record of PowerShell in plain values.

    `http` is the status of the call behind the cmdlet, if there was one.
    """

    message: str
    fqid: str = ""
    type: str = ""
    category: str = ""
    reason: str = ""
    target: str = ""
    details: str = ""
    cmdlet: str = ""
    http: int | None = None
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """The cmdlet ran without an error record."""

    output: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Raised:
    """The cmdlet answered with an error record."""

    error: CmdletError
    warnings: tuple[str, ...] = ()
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """The session ended before it answered: nobody knows whether the command took effect."""

    reason: str
    duration_ms: int = 0


Answer = Returned | Raised | Lost


def encode(message: Mapping[str, Any]) -> bytes:
    """One request line. ASCII only, so no console encoding on the other side can change a character."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def answer_of(body: Mapping[str, Any]) -> Returned | Raised:
    """Reads the body of a reply frame."""
    warnings = tuple(_text(w) for w in _list(body.get("warnings"))[:WARNING_COUNT_MAX])
    duration_ms = int(body.get("duration_ms") or 0)
    if body.get("ok") is True:
        output = tuple(_record(item) for item in _list(body.get("output")))
        error = _returned_error(output)
        return Raised(error, warnings, duration_ms) if error is not None else Returned(output, warnings, duration_ms)
    return Raised(error_of(body.get("error")), warnings, duration_ms)


def error_of(raw: Any) -> CmdletError:
    """Reads an error object of the protocol; a missing or broken one stays a typed error without a message."""
    record: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    http = record.get("http")
    retry_after = record.get("retry_after_seconds")
    return CmdletError(
        message=_text(record.get("message")) or "the session host answered an error without a message",
        fqid=_text(record.get("fqid")),
        type=_text(record.get("type")),
        category=_text(record.get("category")),
        reason=_text(record.get("reason")),
        target=_text(record.get("target")),
        details=_text(record.get("details")),
        cmdlet=_text(record.get("cmdlet")),
        http=http if isinstance(http, int) and not isinstance(http, bool) else None,
        retry_after_seconds=float(retry_after) if isinstance(retry_after, int | float) else None,
    )


def _returned_error(output: Sequence[Mapping[str, Any]]) -> CmdletError | None:
    # Some Teams cmdlets return {Code, Message} as an ordinary object instead of raising an error.
    if len(output) != 1:
        return None
    code, message = output[0].get("Code"), output[0].get("Message")
    if not isinstance(code, str) or not code or not isinstance(message, str):
        return None
    return CmdletError(message=_text(message), fqid=code, details=_text(output[0].get("Detail")))


def _record(item: Any) -> Mapping[str, Any]:
    return item if isinstance(item, Mapping) else {"value": item}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:TEXT_LENGTH_MAX]
