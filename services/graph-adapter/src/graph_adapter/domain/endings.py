"""How a rule's end becomes a result, and which of several errors counts.

Owns the mapping from template ends and error rows to results. Refuses to move the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph_adapter.domain import operation as ops
from graph_adapter.domain.expressions import TemplateFault
from graph_adapter.domain.operation import OperationError, Outcome, Result, Undo
from graph_adapter.domain.recognition import GraphError, Reaction
from graph_adapter.domain.template import Refusal, Success, Template

_URGENCY = {
    reaction: rank
    for rank, reaction in enumerate(
        (Reaction.RENEW, Reaction.THROTTLE, Reaction.REPEAT, Reaction.FAIL, Reaction.REFUSE, Reaction.MISSING)
    )
}


def most_urgent(errors: Mapping[str, GraphError]) -> GraphError:
    """Of several errors of one step, the one to deal with first: nothing can be concluded while a token is stale."""
    return min(errors.values(), key=lambda error: _URGENCY[error.row.reaction])


def succeeded(success: Success, scope: Mapping[str, Any]) -> Result:
    """The good end; without a change there is nothing to undo."""
    changed = bool(success.changed(scope))
    undo = None
    if changed and success.undo_operation is not None and success.undo_params is not None:
        undo = Undo(success.undo_operation, success.undo_version, success.undo_params(scope))
    created = tuple(str(name).lower() for name in success.creates(scope)) if success.creates is not None else ()
    return Result(Outcome.SUCCEEDED, changed, success.output(scope), undo, None, created)


def refused(refusal: Refusal, scope: Mapping[str, Any], error: GraphError | None) -> Result:
    """A template's own no, with Microsoft's words in the detail when an error led to it."""
    detail = {**(ops.graph_detail(error) if error else {}), **(refusal.detail(scope) or {})}
    reason = OperationError(refusal.code, refusal.message, refusal.retryable, refusal.remedy, detail)
    return Result(Outcome.FAILED if refusal.failed else Outcome.REFUSED, error=reason)


def final(template: Template, error: GraphError) -> Result:
    """The end the error table gives an error that no rule fits."""
    detail = ops.graph_detail(error)
    if error.status == 403:
        detail["permissions"] = [group[0] for group in template.permissions]
    return ops.by_row(error.row, detail, refuse=error.row.reaction in (Reaction.REFUSE, Reaction.MISSING))


def given_up(error: GraphError | None) -> Result:
    """The end when repeating did not help."""
    if error is None:
        return ops.failed("ambiguous", "The outcome stays unclear.", retryable=True)
    return ops.by_row(error.row, ops.graph_detail(error), refuse=False)


def template_fault(fault: Exception) -> Result:
    """The end of an operation whose template met a value it cannot work with. Only our own texts are shown."""
    reason = str(fault) if isinstance(fault, TemplateFault) else type(fault).__name__
    return ops.failed("internal", f"The operation template met something unexpected: {reason}")
