"""Playing an operation of the graph adapter like a script: given this answer, expect that request, or this end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import unquote

from graph_adapter.adapters.templates import load_catalogue
from graph_adapter.domain.capabilities import context_of
from graph_adapter.domain.machine import Machine
from graph_adapter.domain.operation import Command, Lane, LeasedOperation, Result
from graph_adapter.domain.progress import Answer, Continue, Created, Directive, Finished, LookUp, Pauses, Wait
from graph_adapter.domain.template import Catalogue

NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
TENANT = "11111111-1111-4111-8111-111111111111"
GRAPH = "https://graph.microsoft.com/v1.0"
OPERATION_ID = uuid.UUID("00000000-0000-4000-8000-000000000001")


@cache
def catalogue() -> Catalogue:
    return load_catalogue()


def command(operation: str, params: Mapping[str, Any], **changes: Any) -> Command:
    values: dict[str, Any] = {
        "operation_id": OPERATION_ID,
        "operation": operation,
        "version": 1,
        "tenant_id": TENANT,
        "target": "target",
        "params": params,
        "deadline": NOW + timedelta(hours=1),
        "reply_to": "ucmesh.orchestrator.replies.v1",
        "plan_id": None,
        "lane": Lane.NORMAL,
        "credential": "active",
        "traceparent": None,
        **changes,
    }
    return Command(**values)


class Script:
    """One operation, step by step."""

    def __init__(
        self,
        operation: str,
        params: Mapping[str, Any],
        *,
        roles: frozenset[str] | None = None,
        progress: Mapping[str, Any] | None = None,
        interrupted: bool = False,
        pauses: Pauses | None = None,
    ) -> None:
        leased = LeasedOperation(command(operation, params), 1, NOW, progress, interrupted)
        context = context_of(TENANT, GRAPH, roles, catalogue().templates.values())
        self.machine = Machine(catalogue().errors, pauses or Pauses())
        self.progress = self.machine.begin(leased, catalogue().templates[(operation, 1)], context)
        self.last: Directive = Continue()

    def asks(self) -> list[str]:
        """The requests to make now, readable: `GET /users/x?$select=id`; a ledger question as `LEDGER id`."""
        found = self.machine.ask(self.progress)
        if isinstance(found, LookUp):
            return [f"LEDGER {name}" for name in found.object_ids]
        return [f"{request.method} {unquote(request.url)}" for request in found]

    def body(self) -> Any:
        """The body of the one request to make now."""
        found = self.machine.ask(self.progress)
        assert not isinstance(found, LookUp)
        (request,) = found
        return request.body

    def hears(self, *answers: Answer, **named: Answer) -> Script:
        """Feeds the answers, in the order of the requests or by name."""
        if answers:
            found = self.machine.ask(self.progress)
            assert not isinstance(found, LookUp)
            assert len(found) == len(answers)
            named = {request.slot: answer for request, answer in zip(found, answers, strict=True)}
        self.last = self.machine.feed(self.progress, named)
        return self

    def is_told(self, created: Mapping[str, Created] | None = None) -> Script:
        self.last = self.machine.told(self.progress, created or {}, NOW)
        return self

    @property
    def goes_on(self) -> bool:
        return isinstance(self.last, Continue)

    @property
    def wait(self) -> Wait:
        assert isinstance(self.last, Wait), self.last
        return self.last

    @property
    def question(self) -> tuple[str, ...]:
        assert isinstance(self.last, LookUp), self.last
        return self.last.object_ids

    @property
    def result(self) -> Result:
        assert isinstance(self.last, Finished), self.last
        return self.last.result

    @property
    def code(self) -> str:
        error = self.result.error
        assert error is not None, self.result
        return error.code

    @property
    def undo(self) -> tuple[str, Mapping[str, Any]] | None:
        undo = self.result.undo
        return (undo.operation, undo.params) if undo is not None else None


def ok(body: Any = None, status: int | None = None) -> Answer:
    return Answer(status or (200 if body is not None else 204), body, "request-1")


def error(
    status: int, message: str = "", code: str = "Request_BadRequest", *, details: Any = None, after: float | None = None
) -> Answer:
    body: dict[str, Any] = {"error": {"code": code, "message": message}}
    if details:
        body["error"]["details"] = details
    return Answer(status, body, "request-1", after)


MISSING = error(404, "Resource 'x' does not exist or one of its queried reference-property objects are not present.",
                "Request_ResourceNotFound")  # fmt: skip
UPN_TAKEN = error(
    400,
    "Another object with the same value for property userPrincipalName already exists.",
    details=[{"code": "ObjectConflict", "target": "userPrincipalName"}],
)
ALREADY_MEMBER = error(
    400, "One or more added object references already exist for the following modified properties: 'members'."
)
