"""`ucmesh tenant`: can we log in, and what may we do."""

from typing import Annotated

import typer

from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import EXIT_NOT_SUCCEEDED
from ucmesh_cli.output import AsJson, print_facts, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="Microsoft tenants.")


@app.command("test")
def try_tenant(
    context: typer.Context,
    customer: str,
    tenant_id: str,
    wait_seconds: Annotated[float, typer.Option(min=0, max=30, help="How long to wait for the answer.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Read the tenant with its certificate now; exit code 3 when it is not ready or did not answer."""
    client = api(context)
    tenant = client.post("orchestrator", f"/customers/{customer}/tenants/{tenant_id}/test", wait_seconds=wait_seconds)
    allowed = client.get("orchestrator", f"/tenants/{tenant_id}/capabilities")["operations"]
    if as_json:
        print_json({**tenant, "capabilities": allowed})
    else:
        print_facts(
            [
                ("tenant", f"{tenant['name']} ({tenant['tenant_id']})"),
                ("state", tenant["state"]),
                ("answered now", tenant["fresh"]),
                ("certificate until", tenant["credential_not_after"]),
                ("read at", tenant["observed_at"]),
                ("reason", tenant["reason"]),
                ("last read", tenant["observation_error"]),
            ]
        )
        rows = [
            {"operation": name, "allowed": verdict["allowed"], "missing": verdict["missing"]}
            for name, verdict in sorted(allowed.items())
        ]
        columns = {"operation": "operation", "allowed": "allowed", "missing": "missing permissions"}
        print_rows(rows, columns, title="What the app registration may do", empty="Not read yet.")
    if tenant["state"] != "ready" or not tenant["fresh"]:
        raise typer.Exit(EXIT_NOT_SUCCEEDED)
