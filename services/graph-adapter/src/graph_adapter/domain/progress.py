"""What goes into and comes out of the state machine, and the memory it keeps about one operation.

Owns the vocabulary of a round. Refuses decisions: those are in `machine.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from graph_adapter.domain.operation import REQUEST_ID_COUNT_MAX, LeasedOperation, Result
from graph_adapter.domain.recognition import GraphError
from graph_adapter.domain.template import Step, Template
from mesh_runtime.values import lean_dataclass

LOST = 0
NOT_SENT = -1


@lean_dataclass(frozen=True, slots=True)
class Request:
    """One Graph request, relative to the version root (`/users/...`)."""

    slot: str
    method: str
    url: str
    body: Any = None

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@lean_dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Status LOST: nobody knows whether it was carried out; NOT_SENT: it never left."""

    status: int
    body: Any = None
    request_id: str | None = None
    retry_after_seconds: float | None = None


@lean_dataclass(frozen=True, slots=True)
class Created:
    """Our ledger's entry about a directory object: which operation made it, and when."""

    operation_id: str
    at: datetime


@lean_dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait before the n-th repetition, in seconds; the length of a ladder is the bound on repetitions."""

    transient: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 30)
    missing: tuple[float, ...] = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 30, 30)
    created_window_seconds: float = 120
    throttle_default_seconds: float = 5


@lean_dataclass(frozen=True, slots=True)
class Continue:
    """More to ask."""


@lean_dataclass(frozen=True, slots=True)
class LookUp:
    """Wants to know which of these directory objects we made ourselves."""

    object_ids: tuple[str, ...]


@lean_dataclass(frozen=True, slots=True)
class Wait:
    """Not before that many seconds from now. `throttled` pauses the whole tenant; `renew` means at once, with a fresh
    token.

    `result` is the end of the operation if there is no time left to wait.
    """

    seconds: float
    result: Result
    throttled: bool = False
    renew: bool = False


@lean_dataclass(frozen=True, slots=True)
class Finished:
    """The end."""

    result: Result


Directive = Continue | LookUp | Wait | Finished
CONTINUE = Continue()


@dataclass(slots=True)
class Progress:
    """Where one operation stands. `dump` is what survives a crash; the rest belongs to the current step's current
    round.
    """

    leased: LeasedOperation
    template: Template
    context: Mapping[str, Any]
    facts: Mapping[str, Any]
    step: Step
    variables: dict[str, Any] = field(default_factory=dict)
    uncertain: bool = False
    waits: int = 0
    hops: int = 0
    request_ids: list[str] = field(default_factory=list)
    dirty: bool = False
    renewed: bool = False
    bodies: dict[str, Any] = field(default_factory=dict)
    next_pages: dict[str, str] = field(default_factory=dict)
    page_counts: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    held: Mapping[str, GraphError] | None = None

    def dump(self) -> dict[str, Any]:
        """Plain JSON, no secrets: the step, its variables, whether a write is uncertain, how often it waited and
        moved.
        """
        return {
            "step": self.step.name,
            "vars": self.variables,
            "uncertain": self.uncertain,
            "waits": self.waits,
            "hops": self.hops,
            "request_ids": self.request_ids[-REQUEST_ID_COUNT_MAX:],
        }

    def scope(self) -> dict[str, Any]:
        """What the template's expressions see."""
        return {
            "params": self.leased.command.params,
            "vars": self.variables,
            "context": self.context,
            "operation": self.facts,
            "skipped": {"slots": self.skipped},
            **self.bodies,
        }

    def restart_step(self) -> None:
        """Forgets the answers of the step so far, to ask it all again or to ask the next one."""
        self.bodies.clear()
        self.next_pages.clear()
        self.page_counts.clear()
        self.skipped.clear()


def load(leased: LeasedOperation, template: Template, context: Mapping[str, Any]) -> Progress:
    """Takes an operation up where its last dump left it; a step that the template no longer has means its beginning."""
    saved = leased.progress or {}
    step = template.steps.get(saved.get("step") or template.first) or template.steps[template.first]
    return Progress(
        leased,
        template,
        context,
        {"id": str(leased.command.operation_id), "started_at": leased.started_at.isoformat()},
        step,
        dict(saved.get("vars") or {}),
        bool(saved.get("uncertain")),
        int(saved.get("waits") or 0),
        int(saved.get("hops") or 0),
        list(saved.get("request_ids") or ()),
    )
