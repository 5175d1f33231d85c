"""`ucmesh dlq`: what could not be handled, why, and what to do with it."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from ucmesh_cli.api import Api, NotFoundError
from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import CliError
from ucmesh_cli.output import AsJson, Limit, err, print_facts, print_json, print_rows
from ucmesh_cli.profile import SERVICES

app = typer.Typer(no_args_is_help=True, help="Dead letters.")
LetterId = Annotated[str, typer.Argument(help="Dead letter id, as `ucmesh dlq list` shows it.")]


@app.command("list")
def list_letters(
    context: typer.Context,
    service: Annotated[str | None, typer.Option(help="Only this service's.")] = None,
    state: Annotated[str | None, typer.Option(help="open, replayed or discarded; all shows every one.")] = "open",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters of all services."""
    client = api(context)
    wanted = None if state == "all" else state
    rows = [
        {"service": name, **row}
        for name in _services(service)
        for row in client.pages(name, "/dead-letters", most=limit, state=wanted)
    ]
    if as_json:
        print_json(rows)
        return
    columns = {
        "id": "dead letter",
        "service": "service",
        "state": "state",
        "type": "type",
        "key": "key",
        "reason": "reason",
        "attempts": "tries",
        "created_at": "since",
    }
    print_rows(rows, columns, title="Dead letters", empty="No dead letters.")


@app.command()
def show(context: typer.Context, letter_id: LetterId, as_json: AsJson = False) -> None:
    """Show a dead letter with its original bytes."""
    service, letter = _find(api(context), letter_id)
    if as_json:
        print_json({"service": service, **letter})
        return
    print_facts(
        [
            ("dead letter", letter["id"]),
            ("service", service),
            ("state", letter["state"]),
            ("reason", letter["reason"]),
            ("code", letter["reason_code"]),
            ("topic", letter["topic"]),
            ("type", letter["type"]),
            ("key", letter["key"]),
            ("tries", letter["attempts"]),
            ("since", letter["created_at"]),
        ]
    )
    print_json(letter["data"] if letter["data"] is not None else letter["data_base64"])


@app.command()
def replay(
    context: typer.Context,
    letter_id: LetterId,
    data: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file with the corrected data.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Handle a dead letter again, with corrected data if given."""
    client = api(context)
    body: dict[str, Any] = {}
    if data is not None:
        try:
            body["data"] = orjson.loads(data.read_bytes())
        except orjson.JSONDecodeError as error:
            raise CliError(f"{data} is not JSON: {error}.", "Correct the file.") from error
    service, _ = _find(client, letter_id)
    answer = client.post(service, f"/dead-letters/{letter_id}/replay", body)
    if as_json:
        print_json(answer)
        return
    err.print(f"{letter_id}: handed to {service} again.")


@app.command()
def discard(
    context: typer.Context,
    letter_id: LetterId,
    reason: Annotated[str, typer.Option(help="Why it may be forgotten; kept with your name.")],
    as_json: AsJson = False,
) -> None:
    """Close a dead letter without handling it."""
    client = api(context)
    service, _ = _find(client, letter_id)
    answer = client.post(service, f"/dead-letters/{letter_id}/discard", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    err.print(f"{letter_id}: discarded.")


def _services(named: str | None) -> tuple[str, ...]:
    if named is None:
        return SERVICES
    if named not in SERVICES:
        raise CliError(f"There is no service {named}.", f"Use one of {', '.join(SERVICES)}.")
    return (named,)


def _find(client: Api, letter_id: str) -> tuple[str, dict[str, Any]]:
    for service in SERVICES:
        try:
            return service, client.get(service, f"/dead-letters/{letter_id}")
        except NotFoundError:
            continue
    raise CliError(f"No service has a dead letter {letter_id}.", "`ucmesh dlq list` shows them.")
