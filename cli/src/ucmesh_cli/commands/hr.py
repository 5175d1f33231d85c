"""`ucmesh hr`: send HR's news."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ucmesh_cli.api import Api
from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import CliError
from ucmesh_cli.hr_file import Event, read_events
from ucmesh_cli.output import AsJson, err, print_json, print_rows

BATCH_TYPE = "application/cloudevents-batch+json"

app = typer.Typer(no_args_is_help=True, help="HR events.")


@app.callback()
def _group() -> None:
    """HR events."""


@app.command()
def send(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="CSV, JSON lines or CloudEvents; - reads standard input.")],
    customer: Annotated[str | None, typer.Option(help="Whose people these are; needed for CSV.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=5000, help="Events a request.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Send a file of HR events. The same file sent twice changes nothing."""
    events = list(read_events(_read(file), customer))
    results = send_all(api(context), events, batch_size)
    counts = Counter(result["status"] for result in results)
    if as_json:
        print_json({"counts": counts, "results": results})
        return
    err.print(", ".join(f"{count} {status}" for status, count in counts.items()) or "No events.")
    bad = [result for result in results if result["status"] == "dead-lettered"]
    if bad:
        columns = {"index": "row", "reason": "reason", "dead_letter_id": "dead letter"}
        print_rows(bad, columns, title="Kept aside", empty="")
        err.print("Correct each one and replay it: `ucmesh dlq replay ID --data FILE`.")


def send_all(client: Api, events: Sequence[Event], batch_size: int) -> list[dict[str, Any]]:
    """What became of each event; `index` counts over the whole file."""
    results: list[dict[str, Any]] = []
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("send", total=len(events))
        for start in range(0, len(events), batch_size):
            chunk = events[start : start + batch_size]
            answer = client.send("orchestrator", "/hr/events", orjson.dumps(chunk), BATCH_TYPE)
            results += [{**result, "index": result["index"] + start} for result in answer["results"]]
            progress.advance(task, len(chunk))
    return results


def _read(file: str) -> str:
    try:
        return sys.stdin.buffer.read().decode() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{file} is not UTF-8: {error}.", "Save it as UTF-8 and send it again.") from error
