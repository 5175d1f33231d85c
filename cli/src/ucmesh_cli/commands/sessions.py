"""`ucmesh sessions`: the PowerShell sessions of the gateway."""

from typing import Annotated

import typer

from ucmesh_cli.commands.context import api
from ucmesh_cli.output import AsJson, Limit, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="PowerShell sessions.")


@app.callback()
def _group() -> None:
    """PowerShell sessions."""


@app.command("list")
def list_sessions(
    context: typer.Context,
    tenant_id: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """List sessions: one process each, bound to one tenant and module."""
    rows = list(api(context).pages("pwsh-gateway", "/sessions", most=limit, tenant_id=tenant_id))
    if as_json:
        print_json(rows)
        return
    columns = {
        "session_id": "session",
        "tenant_id": "tenant",
        "module": "module",
        "state": "state",
        "pid": "pid",
        "executions": "executions",
        "last_used_at": "last used",
    }
    print_rows(rows, columns, title="PowerShell sessions", empty="No session is open.")
