"""What an app registration may do: the permissions in its token against those the templates need.

Owns the rule "every row, any one of a row" and the naming of the least privileged permission that is missing. Refuses
to guess: without a roles claim nothing is known to be allowed or forbidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graph_adapter.domain.operation import Result, refused
from graph_adapter.domain.template import Template


def missing_permissions(template: Template, roles: frozenset[str]) -> list[str]:
    """For every row that is not met, its least privileged permission; empty means allowed."""
    return [row[0] for row in template.permissions if not roles.intersection(row)]


def capability_map(templates: Iterable[Template], roles: frozenset[str]) -> dict[str, Any]:
    """`{operation: {"allowed": bool, "missing": [permissions]}}` for the newest version of every operation."""
    newest: dict[str, Template] = {}
    for template in templates:
        if template.name not in newest or template.version > newest[template.name].version:
            newest[template.name] = template
    answer: dict[str, Any] = {}
    for name in sorted(newest):
        missing = missing_permissions(newest[name], roles)
        answer[name] = {"allowed": not missing, "missing": missing}
    return answer


def permission_refusal(template: Template, roles: frozenset[str] | None) -> Result | None:
    """The refusal of an operation whose permission the token does not hold, made before anything is sent."""
    if roles is None or not (missing := missing_permissions(template, roles)):
        return None
    names = " and ".join(missing)
    return refused(
        "permission-missing",
        f"The app registration may not do this: {names} is missing.",
        remedy=f"Grant the application permission {names} to the app registration, with admin consent.",
        detail={"missing": missing},
    )


def context_of(
    tenant_id: str, graph_url: str, roles: frozenset[str] | None, templates: Iterable[Template]
) -> Mapping[str, Any]:
    """The `context` root that templates see."""
    known = roles or frozenset()
    return {
        "tenant_id": tenant_id,
        "graph_url": graph_url,
        "roles": roles,
        "roles_list": sorted(known),
        "capabilities": capability_map(templates, known),
    }
