"""What the command prints: tables for people, JSON for programs.

Results go to stdout, everything else to stderr, so that `--json` can be piped.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ucmesh_cli.errors import CliError

PIPED_WIDTH = 200

out = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most rows to show.")]

STATE_STYLES = {
    "succeeded": "green",
    "provisioned": "green",
    "ready": "green",
    "active": "green",
    "same": "green",
    "refused": "yellow",
    "scheduled": "cyan",
    "compensated": "magenta",
    "held": "red",
    "failed": "red",
    "dead-lettered": "red",
    "differs": "red",
    "missing": "red",
}


def print_json(value: Any) -> None:
    """Indented, sorted as given."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, title: str, empty: str) -> None:
    """A table of the named columns (key -> heading); ``empty`` is said when there is no row."""
    if not rows:
        err.print(empty)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(key)) for key in columns))
    out.print(table)


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Name and value, a line each; empty values are left out."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, "", [], {}):
            table.add_row(name, cell(value))
    out.print(table)


def cell(value: Any) -> str:
    """A value as text; states are coloured."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if "message" in value:
            return escape(str(value["message"]))
        return escape(", ".join(f"{name}={cell(each)}" for name, each in value.items()))
    if isinstance(value, list | tuple):
        return escape(", ".join(str(each) for each in value))
    text = escape(str(value))
    style = STATE_STYLES.get(str(value))
    return f"[{style}]{text}[/{style}]" if style else text


def print_error(error: CliError) -> None:
    """To stderr: what went wrong, then what to do."""
    err.print(f"[red]Error:[/red] {escape(error.message)}", highlight=False)
    if error.next_step:
        err.print(f"[bold]Next:[/bold] {escape(error.next_step)}", highlight=False)
