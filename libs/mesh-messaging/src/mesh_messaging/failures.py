"""What an exception means for a message: try the batch again, park the message, or give it up.

Owns that classification and the reason an operator reads. Refuses to show payloads: reasons hold no input values.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mesh_messaging.records import fingerprint
from mesh_runtime.db import Database
from mesh_runtime.errors import MeshError, Unavailable

REASON_LENGTH_MAX = 2_000
"""Longest reason kept with a message, in characters."""

TRANSIENT_COUNT_MAX = 5
"""After this many transient failures against a database that answers, they are taken for the messages' own."""

Kind = Literal["transient", "retryable", "permanent"]
"""transient: nobody's fault, repeat the batch · retryable: park the message · permanent: dead letter at once."""

_INFRASTRUCTURE = frozenset({"database-unavailable", "database-contention", "database-busy", "fault-injected"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed."""

    kind: Kind
    code: str
    message: str
    fingerprint: str


def classify(error: Exception) -> Failure:
    """Read an exception raised by a handler or by the transaction around it."""
    if isinstance(error, MeshError):
        return _failure(_kind(error), error.code, str(error), error)
    if isinstance(error, ValidationError):
        return _failure("permanent", "invalid-input", _validation_text(error), error)
    if isinstance(error, OSError | InterfaceError | PoolTimeoutError):
        # Handlers do not call the network, so this is the way to the database.
        return _failure("transient", "connection", f"{type(error).__name__}: {error}", error)
    if isinstance(error, DBAPIError):
        # str(error) would show the parameters of the statement.
        return _failure("retryable", "database-error", str(error.orig), error)
    return _failure("retryable", "unexpected", f"{type(error).__name__}: {error}", error)


async def passes(db: Database, repeats: int) -> bool:
    """Whether a transient failure will pass by waiting: not if it came `repeats` times and the database answers."""
    if repeats < TRANSIENT_COUNT_MAX:
        return True
    try:
        await db.ping()
    except (Unavailable, OSError):
        return True
    return False


def _kind(error: MeshError) -> Kind:
    if error.code in _INFRASTRUCTURE:
        return "transient"
    return "retryable" if error.retryable else "permanent"


def _failure(kind: Kind, code: str, message: str, error: Exception) -> Failure:
    storable = message.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return Failure(kind, code, storable[:REASON_LENGTH_MAX], fingerprint(error))


def _validation_text(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in problems[:20])
