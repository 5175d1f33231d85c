"""`ucmesh trace`: everything that was done for one HR event."""

from typing import Annotated, Any

import typer

from ucmesh_cli.api import Api, NotFoundError
from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import CliError
from ucmesh_cli.output import AsJson, out, print_json
from ucmesh_cli.trace_tree import trace_tree

TRACE_ID_LENGTH = 32

app = typer.Typer(no_args_is_help=True, help="Traces.")


@app.callback()
def _group() -> None:
    """Traces."""


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Trace id, or the id of a plan.")],
    as_json: AsJson = False,
) -> None:
    """Show a trace as a tree, from the HR event to Microsoft's request ids."""
    trace = fetch(api(context), name)
    if as_json:
        print_json(trace)
        return
    out.print(trace_tree(trace))


def fetch(client: Api, name: str) -> dict[str, Any]:
    """A trace in Jaeger's shape, by trace id or by plan id."""
    trace_id = name if len(name) == TRACE_ID_LENGTH and "-" not in name else _of_plan(client, name)
    try:
        traces = client.get("traces", f"/api/traces/{trace_id}")["data"]
    except NotFoundError as error:
        raise CliError(
            f"The trace store has no trace {trace_id}.",
            "Spans arrive some seconds after the work; try again. Older traces may have been dropped.",
        ) from error
    if not traces:
        raise CliError(f"The trace store has no trace {trace_id}.", "Try again in some seconds.")
    found: dict[str, Any] = traces[0]
    return found


def _of_plan(client: Api, plan_id: str) -> str:
    plan = client.get("orchestrator", f"/plans/{plan_id}")
    if not plan["trace_id"]:
        raise CliError(f"Plan {plan_id} was not traced.", "Traces are sampled in production (TRACE_RATIO).")
    return str(plan["trace_id"])
