"""Lists page by key: a page, an opaque cursor and the bounds of a page's size.

Owns the cursor's encoding. Refuses offsets (they skip and repeat rows) and cursors it did not write.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel, Field

from mesh_runtime.errors import InvalidInput

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
CURSOR_LENGTH_MAX = 1024

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items a page, 1 to 500")]
After = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX, description="`next` of the page before")]

T = TypeVar("T")
CursorPart = str | int | float | bool | None | datetime | uuid.UUID


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(None, description="Cursor of the next page; null on the last one")


def encode_cursor(*parts: CursorPart) -> str:
    """The key of a page's last item as an opaque URL-safe text. Datetimes and UUIDs become strings."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def decode_cursor(cursor: str, types: Sequence[type] | None = None) -> tuple[CursorPart, ...]:
    """The parts given to `encode_cursor`; datetimes and UUIDs come back as such when `types` says so.

    Raises InvalidInput for anything that is not a cursor, or not one with parts of `types`.
    """
    if len(cursor) > CURSOR_LENGTH_MAX:
        raise _invalid()
    try:
        parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise _invalid() from None
    if not isinstance(parts, list) or any(isinstance(part, list | dict) for part in parts):
        raise _invalid()
    if types is None:
        return tuple(parts)
    if len(parts) != len(types):
        raise _invalid()
    return tuple(_typed(part, kind) for part, kind in zip(parts, types, strict=True))


def _typed(part: object, kind: type) -> CursorPart:
    try:
        if kind is datetime and isinstance(part, str):
            moment = datetime.fromisoformat(part)
            if moment.tzinfo is not None:
                return moment
        elif kind is uuid.UUID and isinstance(part, str):
            return uuid.UUID(part)
        elif type(part) is kind and isinstance(part, str | int | float | bool):
            return part
    except ValueError:
        pass
    raise _invalid()


def _invalid() -> InvalidInput:
    return InvalidInput(
        "the cursor is not one this list gave out", code="cursor-invalid", remedy="Start without `after`."
    )
