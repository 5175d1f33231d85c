"""`ucmesh customer`: the configuration of a customer."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import CliError
from ucmesh_cli.output import AsJson, Limit, err, print_json, print_rows

app = typer.Typer(no_args_is_help=True, help="Customers and their configuration.")


@app.command()
def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", exists=True, dir_okay=False, help="YAML file of one customer.")],
    as_json: AsJson = False,
) -> None:
    """Apply a customer's configuration; applying it again changes nothing."""
    document = resolve_secrets(_load(file), file.parent)
    name = document.get("customer")
    if not isinstance(name, str):
        raise CliError(f"{file} does not name its customer.", "Add `customer: NAME` at the top.")
    applied = api(context).put("orchestrator", f"/customers/{name}", document)
    if as_json:
        print_json(applied)
        return
    print_rows(
        applied["changes"],
        {"action": "change", "kind": "kind", "name": "name", "fields": "fields"},
        title=f"{name}, version {applied['version']}",
        empty=f"{name}: nothing changed.",
    )
    for tenant in applied["tenants"]:
        err.print(f"tenant {tenant['name']} ({tenant['tenant_id']}): {tenant['state']}")


@app.command("list")
def list_customers(context: typer.Context, limit: Limit = 200, as_json: AsJson = False) -> None:
    """List the customers."""
    rows = list(api(context).pages("orchestrator", "/customers", most=limit))
    if as_json:
        print_json(rows)
        return
    columns = {
        "customer": "customer",
        "name": "name",
        "version": "version",
        "applied_at": "applied",
        "applied_by": "by",
    }
    print_rows(rows, columns, title="Customers", empty="No customer yet: `ucmesh customer apply -f FILE`.")


@app.command()
def numbers(context: typer.Context, customer: str, limit: Limit = 1000, as_json: AsJson = False) -> None:
    """Show a customer's telephone numbers and who holds them."""
    rows = list(api(context).pages("orchestrator", f"/customers/{customer}/numbers", most=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"number": "number", "site": "site", "type": "type", "status": "status", "employee_id": "held by"}
    print_rows(rows, columns, title=f"Numbers of {customer}", empty=f"{customer} has no numbers.")


@app.command()
def seats(context: typer.Context, customer: str, limit: Limit = 1000, as_json: AsJson = False) -> None:
    """Show a customer's licence pools."""
    rows = list(api(context).pages("orchestrator", f"/customers/{customer}/seats", most=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"part_number": "SKU", "total": "total", "consumed": "in use", "held": "held", "available": "free"}
    print_rows(rows, columns, title=f"Licences of {customer}", empty="The tenant has not been read yet.")


def _load(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CliError(f"{file} is not YAML: {error}", "Correct the file.") from error
    if not isinstance(document, dict):
        raise CliError(f"{file} holds no customer.", "See examples/customers for the form.")
    return document


def resolve_secrets(
    document: dict[str, Any], folder: Path, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Replaces every `{env: NAME}` and `{file: PATH}` of a bootstrap secret by `{value: ...}`."""
    for tenant in document.get("tenants") or []:
        application = tenant.get("application") or {}
        reference = application.get("bootstrap_secret")
        if isinstance(reference, dict):
            application["bootstrap_secret"] = {"value": _secret(reference, folder, environment)}
    return document


def _secret(reference: dict[str, Any], folder: Path, environment: Mapping[str, str]) -> str:
    if "env" in reference:
        name = str(reference["env"])
        if not environment.get(name):
            raise CliError(f"The variable {name} is not set.", f"Set {name} to the app registration's client secret.")
        return environment[name]
    if "file" in reference:
        path = folder / str(reference["file"])
        try:
            return path.read_text("utf-8").strip()
        except OSError as error:
            raise CliError(f"The secret file {path} cannot be read: {error.strerror}.", "Check its path.") from error
    if "value" in reference:
        raise CliError(
            "The configuration holds a secret in plain text.",
            "Put it into a variable or a file and write `bootstrap_secret: {env: NAME}` or `{file: PATH}`.",
        )
    raise CliError("A bootstrap_secret names neither env nor file.", "Write `{env: NAME}` or `{file: PATH}`.")
