"""`ucmesh certs`: certificates of the app registrations."""

from typing import Annotated

import typer

from ucmesh_cli.commands.context import api
from ucmesh_cli.output import AsJson, Limit, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="Certificates.")


@app.callback()
def _group() -> None:
    """Certificates."""


@app.command("list")
def list_certificates(
    context: typer.Context,
    tenant_id: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """List certificates and what each still waits for."""
    rows = list(api(context).pages("cert-manager", "/certificates", most=limit, tenant_id=tenant_id))
    if as_json:
        print_json(rows)
        return
    columns = {
        "customer": "customer",
        "kind": "kind",
        "state": "state",
        "thumbprint": "thumbprint",
        "not_after": "valid until",
        "waiting_for": "waits for",
        "last_error": "last answer",
    }
    print_rows(rows, columns, title="Certificates", empty="No certificate yet: `ucmesh customer apply -f FILE`.")
