"""What the demo prints: the summary table, one undone plan, one trace."""

import io
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from ucmesh_cli.api import Api
from ucmesh_cli.commands import plan as plan_command
from ucmesh_cli.commands import trace as trace_command
from ucmesh_cli.errors import CliError
from ucmesh_cli.output import cell
from ucmesh_cli.trace_tree import trace_tree
from ucmesh_embedded.demo.tenants import TenantState

TRACE_SECONDS_MAX = 15.0
PICTURE_WIDTH = 190
PICTURE_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Rich's form without its fonts, which would be fetched from elsewhere."""
COLUMNS = ("employee", "name", "site", "profile", "UPN", "licences", "mailbox", "number", "outcome", "seconds")

Person = Mapping[str, Any]
Plan = Mapping[str, Any]


def summary(
    people: Sequence[Person],
    letters: Mapping[str, str],
    plans: Mapping[str, Plan],
    tenants: Mapping[str, TenantState],
) -> Table:
    """Everybody of the feeds, a row each."""
    table = Table(title="What became of everybody", title_justify="left", header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold", justify="right" if column == "seconds" else "left")
    for person in people:
        plan = plans.get(person["plan_id"], {})
        proven = person["status"] == "provisioned"
        table.add_row(
            person["employee_id"],
            cell(person["display_name"]),
            cell(person["site"]),
            cell(person["profile"]),
            cell(person["user_principal_name"] if proven else None),
            cell(person["licences"] if proven else None),
            _mailbox(person, tenants),
            cell(person["number"] if proven else None),
            _outcome(person, plan),
            _seconds(plan),
        )
    for employee_id, reason in letters.items():
        table.add_row(employee_id, *[""] * 7, f"[red]dead letter[/red] {cell(reason)}", "")
    return table


def _mailbox(person: Person, tenants: Mapping[str, TenantState]) -> str:
    state = tenants.get(str(person["tenant_id"]))
    users = state.users.get(person["employee_id"], []) if state else []
    return "yes" if state and users and users[0]["id"] in state.mailboxes else ""


def _outcome(person: Person, plan: Plan) -> str:
    reason = person["reason"] or plan.get("reason")
    if person["status"] == "provisioned":
        return f"[green]proven[/green]{', ' + cell(reason['message']) if reason else ''}"
    if person["status"] == "scheduled":
        return f"[cyan]scheduled[/cyan] for {datetime.fromisoformat(plan['not_before']):%Y-%m-%d %H:%M} UTC"
    return f"{cell(person['status'])}: {cell(reason['message'])}" if reason else cell(person["status"])


def _seconds(plan: Plan) -> str:
    if not plan.get("finished_at"):
        return ""
    began, ended = (datetime.fromisoformat(plan[name]) for name in ("created_at", "finished_at"))
    return f"{(ended - began).total_seconds():.1f}"


def plan(api: Api, plan_id: str) -> RenderableType:
    """`ucmesh plan show` of one plan."""
    return Panel(
        plan_command.view(*plan_command.fetch(api, plan_id)), title=f"ucmesh plan show {plan_id}", title_align="left"
    )


def best_traced(people: Sequence[Person], plans: Mapping[str, Plan]) -> str | None:
    """The plan of somebody provisioned with a number, if there is one: it touches every workload."""
    fitting = [p for p in people if p["status"] == "provisioned" and (plans.get(p["plan_id"]) or {}).get("trace_id")]
    fitting.sort(key=lambda person: person["number"] is None)
    return str(fitting[0]["plan_id"]) if fitting else None


def trace(api: Api, plan_id: str) -> RenderableType:
    """`ucmesh trace show` of one plan; spans are exported in batches, so the last ones take some seconds."""
    deadline, seen = time.monotonic() + TRACE_SECONDS_MAX, -1
    while True:
        try:
            found = trace_command.fetch(api, plan_id)
        except CliError as error:
            found = {}
            if time.monotonic() > deadline:
                return Group(error.message)
        spans = len(found.get("spans", ()))
        if spans and spans == seen:
            return Panel(trace_tree(found), title=f"ucmesh trace show {plan_id}", title_align="left")
        seen = spans
        time.sleep(1.0)


def save(picture: RenderableType, file: Path, *, title: str) -> None:
    """What a terminal shows, as an SVG file."""
    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(picture)
    file.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(file), title=title, code_format=PICTURE_FORMAT)
