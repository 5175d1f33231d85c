"""The `ucmesh` command: one group a noun. Errors say what to do next; results go to stdout."""

import sys

import typer

from ucmesh_cli.commands import certs, customer, dlq, hr, person, plan, resync, sessions, tenant, trace
from ucmesh_cli.errors import EXIT_FAILED, CliError
from ucmesh_cli.output import print_error

app = typer.Typer(
    name="ucmesh",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Joiners, movers and leavers in Microsoft 365, by rules, proven and undoable.",
)
for name, group in (
    ("customer", customer.app),
    ("tenant", tenant.app),
    ("hr", hr.app),
    ("plan", plan.app),
    ("person", person.app),
    ("dlq", dlq.app),
    ("sessions", sessions.app),
    ("certs", certs.app),
    ("trace", trace.app),
):
    app.add_typer(group, name=name)
app.command("resync")(resync.resync)


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except CliError as error:
        print_error(error)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
