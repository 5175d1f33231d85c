"""The outcomes every layer speaks: one exception family with a stable code, who must act, and whether a retry makes
sense.

Owns the mapping from kind of error to HTTP status. Refuses transport details: how an error is rendered is decided at
the border.
"""

# ruff: noqa: N818  (outcomes are named by what happened; most are not errors of a program)

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class MeshError(Exception):
    """An outcome with a stable machine-readable `code`.

    `retryable` answers "may the same request succeed later without anybody acting?". `remedy` tells a person what to
    do. `detail` holds JSON-ready facts for that person; never secrets.
    """

    code: str = "internal"
    retryable: bool = False
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        remedy: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        self.remedy = remedy
        self.detail: dict[str, object] = dict(detail or {})


class InvalidInput(MeshError):
    """The payload itself is wrong; sending it again cannot help."""

    code = "invalid-input"
    status = 422
    title = "Invalid input"


class NotFound(MeshError):
    """The named thing does not exist (or the caller may not know that it does)."""

    code = "not-found"
    status = 404
    title = "Not found"


class Conflict(MeshError):
    """The thing changed meanwhile or exists already."""

    code = "conflict"
    status = 409
    title = "Conflict"


class Refused(MeshError):
    """A business no: understood, valid and not allowed by a rule. Never retried."""

    code = "refused"
    status = 409
    title = "Refused"


class Unauthenticated(MeshError):
    """Nobody proved who is asking."""

    code = "unauthenticated"
    status = 401
    title = "Unauthenticated"


class Forbidden(MeshError):
    """We know who asks, and they may not."""

    code = "forbidden"
    status = 403
    title = "Forbidden"


class Unavailable(MeshError):
    """Something we depend on does not answer now; the same request may succeed later."""

    code = "unavailable"
    retryable = True
    status = 503
    title = "Unavailable"


class TooLarge(MeshError):
    """The payload is beyond a limit."""

    code = "too-large"
    status = 413
    title = "Too large"
