"""A record as it stood in Apache Kafka (or at an intake door), and how its bytes are kept in the database.

Owns losslessness: whatever bytes came in can be written out again, also when they are no text. Refuses to interpret
them.
"""

import base64
import hashlib
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from mesh_runtime.values import lean_dataclass

Headers = Sequence[tuple[str, bytes]]


@lean_dataclass(frozen=True, slots=True)
class RawRecord:
    """The original bytes. `partition` and `offset` are -1 for what did not come from Apache Kafka; `key` unset =
    unordered.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None


def dump_headers(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Headers as JSON text: `[[name, text], ...]`, with `{"base64": ...}` in place of what PostgreSQL cannot hold
    as text.
    """
    return orjson.dumps([[_storable(name), _dump_value(value)] for name, value in headers]).decode()


def load_headers(stored: str) -> list[tuple[str, bytes]]:
    """The inverse of `dump_headers`."""
    return [(name, _load_value(value)) for name, value in orjson.loads(stored)]


def digest(record: RawRecord) -> bytes:
    """Identity of the content: SHA-256 over key, value and CloudEvents headers; the same broken message twice is
    equal.
    """
    parts = [record.key or b"", record.value or b""]
    parts += [
        f"{name}=".encode("utf-8", "surrogateescape") + (raw or b"")
        for name, raw in record.headers
        if name[:3] == "ce_"
    ]
    state = hashlib.sha256(record.topic.encode())
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()


def fingerprint(error: BaseException) -> str:
    """Groups failures that come from the same place: 16 hex digits over the error's type and its innermost frames."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    place = "|".join(f"{frame.filename.rpartition('/')[2]}:{frame.name}" for frame in frames)
    return hashlib.sha256(f"{type(error).__qualname__}|{place}".encode()).hexdigest()[:16]


def key_text(key: bytes | None) -> str | None:
    """A key for people and handlers; bytes that are no UTF-8 show as escapes."""
    return key.decode("utf-8", "backslashreplace") if key is not None else None


def _storable(name: str) -> str:
    return name.replace("\x00", "\\x00")


def _dump_value(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    return {"base64": base64.b64encode(value).decode()} if "\x00" in text else text


def _load_value(value: Any) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return value.encode() if value is not None else b""
