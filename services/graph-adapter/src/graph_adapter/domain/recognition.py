"""Which of Microsoft's errors an answer is.

Owns the one table's meaning: rows are tried in order, the first that fits names the error. Refuses to be clever:
status and code first, `details` next, a piece of the message only where Microsoft gives nothing else to tell two
errors apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from mesh_runtime.values import lean_dataclass

MESSAGE_LENGTH_MAX = 300


class Reaction(StrEnum):
    """What an error asks for when the template's step has no rule of its own for it."""

    REFUSE = "refuse"  # a business no
    FAIL = "fail"  # technical and final
    REPEAT = "repeat"  # transient: the same step again, after a pause, a bounded number of times
    THROTTLE = "throttle"  # the tenant pauses
    RENEW = "renew"  # the token is stale: once again with a fresh one
    MISSING = "missing"  # repeat if we have just made the object, else refuse


@lean_dataclass(frozen=True, slots=True)
class ErrorRow:
    """One row of the table. `code` is ours (in replies); empty conditions fit everything."""

    name: str
    statuses: frozenset[int]
    reaction: Reaction
    code: str
    message: str
    remedy: str | None = None
    retryable: bool = False
    graph_codes: frozenset[str] = frozenset()
    detail_code: str | None = None
    detail_target: str | None = None
    texts: tuple[str, ...] = ()
    may_have_applied: bool = False  # the answer does not prove that a write was not carried out


@lean_dataclass(frozen=True, slots=True)
class GraphError:
    """An error answer read apart: the table's row and Microsoft's own words for the log and the reply's detail."""

    row: ErrorRow
    status: int
    graph_code: str
    graph_message: str


class ErrorTable:
    """The rows of `errors.yaml`; the last one must fit everything."""

    def __init__(self, rows: Sequence[ErrorRow]) -> None:
        self._rows = tuple(rows)
        self._by_name = {row.name: row for row in rows}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._by_name)

    def __getitem__(self, name: str) -> ErrorRow:
        return self._by_name[name]

    def recognise(self, status: int, body: Any) -> GraphError:
        """Names the error of an answer with an error status; total, whatever the body is."""
        error = body.get("error") if isinstance(body, dict) else None
        error = error if isinstance(error, dict) else {}
        code, message = str(error.get("code") or ""), str(error.get("message") or "")
        listed = error.get("details")
        details = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
        lowered = message.lower()
        row = next(row for row in self._rows if _fits(row, status, code, lowered, details))
        return GraphError(row, status, code, message[:MESSAGE_LENGTH_MAX])


def _fits(row: ErrorRow, status: int, code: str, message: str, details: list[Mapping[str, Any]]) -> bool:
    if row.statuses and status not in row.statuses:
        return False
    if row.graph_codes and code not in row.graph_codes:
        return False
    if row.detail_code is not None and any(
        item.get("code") == row.detail_code and item.get("target") == row.detail_target for item in details
    ):
        return True
    if row.texts:
        return any(text in message for text in row.texts)
    return row.detail_code is None
