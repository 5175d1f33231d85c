"""A trace as a tree: who did what, below whom, for how long, and under which Microsoft request id."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.markup import escape
from rich.tree import Tree

REQUEST_ID_TAG = "microsoft.request_ids"
SHOWN_TAGS = ("ucmesh.operation", "ucmesh.outcome", "ucmesh.plan.state", "ucmesh.error_id")

Span = Mapping[str, Any]


def trace_tree(trace: Mapping[str, Any]) -> Tree:
    """``trace`` in Jaeger's JSON shape. Spans whose parent was not recorded hang from the root."""
    spans: Sequence[Span] = sorted(trace["spans"], key=lambda span: span["startTime"])
    services = {pid: process.get("serviceName", pid) for pid, process in trace["processes"].items()}
    known = {span["spanID"] for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in spans:
        parent = _parent(span)
        children.setdefault(parent if parent in known else None, []).append(span)
    root = Tree(f"[bold]trace {trace['traceID']}[/bold]  {len(spans)} spans")
    start = spans[0]["startTime"] if spans else 0
    for span in children.get(None, []):
        _add(root, span, children, services, start)
    return root


def _add(
    branch: Tree, span: Span, children: Mapping[str | None, list[Span]], services: Mapping[str, str], start: int
) -> None:
    below = branch.add(_label(span, services, start))
    for child in children.get(span["spanID"], []):
        _add(below, child, children, services, start)


def _label(span: Span, services: Mapping[str, str], start: int) -> str:
    tags = {tag["key"]: tag["value"] for tag in span.get("tags", [])}
    at, took = (span["startTime"] - start) / 1000, span["duration"] / 1000
    service = services.get(span["processID"], "?")
    text = f"[cyan]{escape(service)}[/cyan] {escape(span['operationName'])}  [dim]+{at:.0f} ms, {took:.1f} ms[/dim]"
    shown = [str(tags[name]) for name in SHOWN_TAGS if name in tags and not _is_in_name(str(tags[name]), span)]
    if shown:
        text += f"  {escape(' '.join(shown))}"
    requests = _strings(tags.get(REQUEST_ID_TAG))
    if requests:
        more = f" and {len(requests) - 1} before" if len(requests) > 1 else ""
        text += f"  [magenta]request-id {escape(requests[-1])}{more}[/magenta]"
    if tags.get("error") in (True, "true") or tags.get("otel.status_code") == "ERROR":
        text += "  [red]error[/red]"
    return text


def _is_in_name(value: str, span: Span) -> bool:
    return value.partition("@")[0] in span["operationName"]


def _strings(value: Any) -> list[str]:
    """A list tag: Jaeger shows it as JSON text."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return [value]
    return [str(each) for each in value] if isinstance(value, list) else []


def _parent(span: Span) -> str | None:
    references = span.get("references") or []
    return next((ref["spanID"] for ref in references if ref.get("refType") == "CHILD_OF"), None)
