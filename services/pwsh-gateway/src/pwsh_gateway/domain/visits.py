"""Visits: several queued operations of one target served in one sitting of one session.

Owns the grouping, and the memory of a sitting: what was read can serve the next operation, what was written makes
the fields it touched unread again. Refuses to let an operation decide on a field that an earlier, still pending one
is about to change.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pwsh_gateway.domain.catalogue import Entry
from pwsh_gateway.domain.operations import Operation, Stream
from pwsh_gateway.domain.protocol import Answer, Invocation, Returned


@dataclass(frozen=True, slots=True)
class Leased:
    """An operation as it comes from the queue. `credential_id` is None when no such credential is known (yet).

    `recent` holds (subject, field) -> value of writes to its target that a read may not show yet.
    """

    operation: Operation
    credential_id: uuid.UUID | None
    customer: str
    recent: Mapping[tuple[str, str], Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visit:
    """The operations of one target, in order; all of one stream. `recent` as in Leased."""

    stream: Stream
    target: str
    credential_id: uuid.UUID | None
    customer: str
    operations: tuple[Operation, ...]
    recent: Mapping[tuple[str, str], Any] = field(default_factory=dict)


def group(leased: Sequence[Leased]) -> list[Visit]:
    """One visit per stream and target; operations in the order they were taken in, visits in the order given."""
    visits: dict[tuple[Stream, str], list[Leased]] = {}
    for item in leased:
        visits.setdefault((item.operation.stream, item.operation.target), []).append(item)
    return [
        Visit(
            stream=stream,
            target=target,
            credential_id=items[0].credential_id,
            customer=items[0].customer,
            operations=tuple(sorted((item.operation for item in items), key=lambda operation: operation.seq)),
            recent=items[0].recent,
        )
        for (stream, target), items in visits.items()
    ]


def touches(entry: Entry, params: Mapping[str, Any]) -> frozenset[str] | None:
    """The fields an operation decides on or changes; None means every field (it only reads)."""
    if entry.desired is None:
        return None
    if isinstance(entry.desired, str):
        names = set(params[entry.desired.removeprefix("$param.")])
    else:
        names = {str(params[name.removeprefix("$param.")]) if name.startswith("$") else name for name in entry.desired}
    return frozenset(names | set(entry.only_if) | {refusal.field for refusal in entry.refuse})


def subject(params: Mapping[str, Any]) -> str:
    """Whose fields an operation is about."""
    return str(params.get("identity", "")).casefold()


@dataclass(slots=True)
class Memory:
    """What one sitting has read and what it, or a recent one, has written."""

    recent: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    _written: dict[tuple[str, str], Any] = field(default_factory=dict)
    _answers: dict[str, Returned] = field(default_factory=dict)
    _stale: dict[str, set[str]] = field(default_factory=dict)

    def recall(self, invocation: Invocation, needs: frozenset[str] | None) -> Returned | None:
        """An earlier answer to the same read, unless a field that matters was written since."""
        if invocation.writes:
            return None
        key = _key(invocation)
        stale = self._stale.get(key, set())
        if stale and (needs is None or stale & needs):
            return None
        return self._answers.get(key)

    def note(self, invocation: Invocation, answer: Answer) -> None:
        """Keeps the answer to a read for the rest of the sitting."""
        if not invocation.writes and isinstance(answer, Returned):
            key = _key(invocation)
            self._answers[key] = answer
            self._stale[key] = set()

    def wrote(self, who: str, values: Mapping[str, Any]) -> None:
        """The fields now hold these values, whatever a read says."""
        for name, value in values.items():
            self._written[who, name] = value
        for stale in self._stale.values():
            stale.update(values)

    def overlay(self, who: str) -> dict[str, Any]:
        """Field -> value of what is known to have been written to this subject."""
        return {
            name: value
            for known in (self.recent, self._written)
            for (owner, name), value in known.items()
            if owner == who
        }


def collides(needs: frozenset[str] | None, pending: Iterable[frozenset[str]]) -> bool:
    """Whether an operation must wait until the pending ones have written."""
    fields = frozenset().union(*pending)
    return bool(fields) and (needs is None or bool(needs & fields))


def _key(invocation: Invocation) -> str:
    return json.dumps([invocation.cmdlet, invocation.params, invocation.fields], sort_keys=True, default=str)
