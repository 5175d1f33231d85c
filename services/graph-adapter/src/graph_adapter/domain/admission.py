"""What can be said about an operation before Microsoft Graph is asked: unknown, late, wrong, or not permitted.

Owns the order of these checks; the first needs no credential. Refuses to know tokens beyond the permissions in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from graph_adapter.domain import operation as ops
from graph_adapter.domain.capabilities import permission_refusal
from graph_adapter.domain.operation import Command, LeasedOperation, Result
from graph_adapter.domain.template import Catalogue, Template, invalid_parameter

INTERRUPTION_COUNT_MAX = 9
"""In a row. A replica that dies takes some hundred operations with it, and one of them at most is to blame."""


class Admission:
    """Decides for all operations of one token; what the token permits is found out once a template. `context` is what
    the templates of those admitted see of the tenant.
    """

    def __init__(self, catalogue: Catalogue, roles: frozenset[str] | None, context: Mapping[str, Any]) -> None:
        self.context = context
        self._templates = catalogue.templates
        self._roles = roles
        self._refusals: dict[tuple[str, int], Result | None] = {}

    def of(self, leased: LeasedOperation, now: datetime) -> Template | Result:
        """The template to run, or the end of the operation, which is none of the `unknown` ones."""
        command = leased.command
        template = self._templates[command.operation, command.version]
        # Past its deadline only what may have written goes on, to find out whether it did.
        unresolved = leased.interrupted or bool((leased.progress or {}).get("uncertain"))
        if now >= command.deadline and not unresolved:
            message = "The deadline passed before the operation could be carried out."
            return ops.failed("deadline-exceeded", message, retryable=True)
        if leased.interruptions > INTERRUPTION_COUNT_MAX:
            return ops.failed("internal", "The adapter died several times while it carried this operation out.")
        if (mistake := invalid_parameter(template, command.params)) is not None:
            return ops.refused("invalid-params", f"{command.operation}: {mistake}", detail={"parameter": mistake})
        return self._refusal(template) or template

    def _refusal(self, template: Template) -> Result | None:
        if template.key not in self._refusals:
            self._refusals[template.key] = permission_refusal(template, self._roles)
        return self._refusals[template.key]


def unknown(catalogue: Catalogue, command: Command) -> Result | None:
    """The end of an operation that nobody can carry out, whoever signs in."""
    if (command.operation, command.version) in catalogue.templates:
        return None
    name = f"{command.operation}@{command.version}"
    return ops.refused(
        "unknown-operation", f"There is no operation {name} here.", remedy="Update the graph adapter's templates."
    )
