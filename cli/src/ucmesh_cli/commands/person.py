"""`ucmesh person`: what somebody should have against what they have."""

from typing import Annotated

import typer

from ucmesh_cli.commands.context import api
from ucmesh_cli.output import AsJson, Limit, print_facts, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="People.")


@app.command()
def show(context: typer.Context, customer: str, employee_id: str, as_json: AsJson = False) -> None:
    """Show one person: desired against observed, line by line."""
    person = api(context).get("orchestrator", f"/people/{customer}/{employee_id}")
    if as_json:
        print_json(person)
        return
    reason = person["reason"] or {}
    print_facts(
        [
            ("person", f"{person['display_name'] or ''} ({person['employee_id']})"),
            ("status", person["status"]),
            ("because", reason.get("message")),
            ("next", reason.get("remedy")),
            ("site", person["site"]),
            ("profile", person["profile"]),
            ("UPN", person["user_principal_name"]),
            ("number", person["number"]),
            ("licences", person["licences"]),
            ("plan", person["plan_id"]),
            ("read back at", person["observed_at"]),
        ]
    )
    columns = {
        "workload": "workload",
        "item": "item",
        "desired": "desired",
        "observed": "observed",
        "verdict": "verdict",
    }
    print_rows(person["lines"], columns, title="Desired against observed", empty="No plan has been made yet.")


@app.command("list")
def list_people(
    context: typer.Context,
    customer: Annotated[str | None, typer.Option(help="Only this customer.")] = None,
    status: Annotated[str | None, typer.Option(help="Only people in this status.")] = None,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """List people."""
    rows = list(api(context).pages("orchestrator", "/people", most=limit, customer=customer, status=status))
    if as_json:
        print_json(rows)
        return
    columns = {
        "customer": "customer",
        "employee_id": "employee",
        "display_name": "name",
        "status": "status",
        "site": "site",
        "profile": "profile",
        "user_principal_name": "UPN",
        "number": "number",
        "reason": "reason",
    }
    print_rows(rows, columns, title="People", empty="Nobody yet: send HR events with `ucmesh hr send FILE`.")
