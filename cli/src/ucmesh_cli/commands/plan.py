"""`ucmesh plan`: what is set out to be done, how far it is, and why it ended as it did."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ucmesh_cli.api import Api
from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import EXIT_NOT_SUCCEEDED, CliError
from ucmesh_cli.hr_file import read_events
from ucmesh_cli.output import AsJson, Limit, cell, err, out, print_facts, print_json, print_rows

ENDS = {"succeeded", "refused", "compensated", "held", "cancelled"}
WATCH_SECONDS = 0.5

app = typer.Typer(no_args_is_help=True, help="Plans.")
PlanId = Annotated[str, typer.Argument(help="Plan id, as `ucmesh plan list` shows it.")]
Customer = Annotated[str | None, typer.Option(help="Only this customer.")]


@app.command("list")
def list_plans(
    context: typer.Context,
    customer: Customer = None,
    state: Annotated[str | None, typer.Option(help="Only plans in this state.")] = None,
    employee_id: Annotated[str | None, typer.Option("--employee", help="Only this person.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List plans, newest first."""
    query = {"customer": customer, "state": state, "employee_id": employee_id}
    rows = list(api(context).pages("orchestrator", "/plans", most=limit, **query))
    if as_json:
        print_json(rows)
        return
    shown = [{**row, **row["effects"], "done": _done(row)} for row in rows]
    columns = {
        "plan_id": "plan",
        "customer": "customer",
        "employee_id": "employee",
        "state": "state",
        "done": "done",
        "upn": "UPN",
        "reason": "reason",
    }
    print_rows(shown, columns, title="Plans", empty="No plan: send HR events with `ucmesh hr send FILE`.")


@app.command()
def show(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Show a plan and its operations."""
    plan, operations = fetch(api(context), plan_id)
    if as_json:
        print_json({**plan, "operations": operations})
        return
    out.print(view(plan, operations))


@app.command()
def watch(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Follow a plan to its end; exit code 3 unless it succeeds."""
    client = api(context)
    plan, operations = fetch(client, plan_id)
    with Live(view(plan, operations), console=err if as_json else out, auto_refresh=False) as live:
        while plan["state"] not in ENDS:
            time.sleep(WATCH_SECONDS)
            plan, operations = fetch(client, plan_id)
            live.update(view(plan, operations), refresh=True)
    if as_json:
        print_json({**plan, "operations": operations})
    if plan["state"] != "succeeded":
        raise typer.Exit(EXIT_NOT_SUCCEEDED)


@app.command()
def retry(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Try an ended plan again, by today's rules and today's state of the tenant."""
    _act(context, plan_id, "retry", as_json)


@app.command()
def cancel(context: typer.Context, plan_id: PlanId, as_json: AsJson = False) -> None:
    """Stop a plan and undo what it changed."""
    _act(context, plan_id, "cancel", as_json)


@app.command()
def preview(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="HR file; its events are only tried.")],
    customer: Annotated[str | None, typer.Option(help="Whose people these are; needed for CSV.")] = None,
    employee_id: Annotated[str | None, typer.Option("--employee", help="Only this person of the file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the events of a file would do; nothing is written or reserved."""
    client = api(context)
    events = [e["data"] for e in read_events(file.read_text("utf-8"), customer) if isinstance(e.get("data"), dict)]
    chosen = [data for data in events if employee_id in (None, data.get("employee_id"))]
    if not chosen:
        raise CliError(f"{file} has no event of {employee_id}.", "Check the employee id.")
    previews = [
        client.post("orchestrator", "/plans/preview", {"customer": data.get("customer"), "event": data})
        for data in chosen
    ]
    if as_json:
        print_json(previews)
        return
    for data, each in zip(chosen, previews, strict=True):
        _print_preview(str(data.get("employee_id")), each)


def _print_preview(employee_id: str, preview: dict[str, Any]) -> None:
    print_facts(
        [
            ("employee", employee_id),
            ("site", preview["site"]),
            ("profile", preview["profile"]),
            ("refused", preview["refusal"]),
            ("remedy", (preview["refusal"] or {}).get("remedy")),
            ("starts", preview["not_before"]),
            ("takes", preview["effects"].get("seats")),
            ("number", preview["effects"].get("number")),
            ("permissions", preview["permissions"]),
        ]
    )
    if preview["refusal"] is None:
        columns = {"title": "operation", "before": "before", "after": "after", "depends_on": "after operation"}
        print_rows(preview["operations"], columns, title="Would do", empty="Nothing to do.")


def _act(context: typer.Context, plan_id: str, action: str, as_json: bool) -> None:
    answer = api(context).post("orchestrator", f"/plans/{plan_id}/{action}")
    if as_json:
        print_json(answer)
        return
    err.print(f"{plan_id}: {answer['state']}. Follow it with `ucmesh plan watch {plan_id}`.")


def fetch(client: Api, plan_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A plan and its operations."""
    plan = client.get("orchestrator", f"/plans/{plan_id}")
    return plan, client.get("orchestrator", f"/plans/{plan_id}/operations")


def _done(plan: dict[str, Any]) -> str:
    return f"{plan['operations']['succeeded']}/{plan['operations']['total']}"


def view(plan: dict[str, Any], operations: list[dict[str, Any]]) -> Group:
    """What `plan show` prints."""
    head = Text.from_markup(
        f"[bold]{plan['kind']} {cell(plan['employee_id'])}[/bold] of {cell(plan['customer'])}: {cell(plan['state'])} "
        f"({_done(plan)} operations, try {plan['tries']})\n"
        f"[dim]plan {plan['plan_id']}  trace {plan['trace_id'] or '-'}[/dim]"
    )
    lines = [head]
    for label, reason in (("Because", plan["reason"]), ("Undone because", plan["undoing_because"])):
        if reason and not (label == "Undone because" and reason == plan["reason"]):
            lines.append(
                Text.from_markup(f"[bold]{label}:[/bold] {cell(reason['message'])} [dim]({reason['code']})[/dim]")
            )
            if reason["remedy"]:
                lines.append(Text.from_markup(f"[bold]Next:[/bold] {cell(reason['remedy'])}"))
    return Group(*lines, _operations_table(operations))


def _operations_table(operations: list[dict[str, Any]]) -> Table:
    table = Table(header_style="bold")
    for heading in ("operation", "state", "changed", "sent", "before", "after", "error", "Microsoft request id"):
        table.add_column(heading, overflow="fold")
    for row in operations:
        table.add_row(
            cell(row["title"] or row["operation"]),
            cell(row["state"]),
            cell(row["changed"]),
            str(row["dispatches"]),
            cell(row["before"]),
            cell(row["after"]),
            cell(row["error"]),
            cell(row["request_ids"][-1:]),
        )
    return table
