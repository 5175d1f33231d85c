"""`ucmesh resync`: after a restore, look at the tenants again and let what the tenant has win."""

from typing import Annotated, Any

import typer

from ucmesh_cli.api import Api
from ucmesh_cli.commands.context import api
from ucmesh_cli.errors import EXIT_NOT_SUCCEEDED
from ucmesh_cli.output import AsJson, print_json, print_rows

ENDED_BADLY = ("held", "compensated")
PEOPLE_COUNT_MAX = 1_000_000


def resync(
    context: typer.Context,
    customer: Annotated[str | None, typer.Option(help="Only this customer.")] = None,
    retry: Annotated[bool, typer.Option(help="Try plans that are held or were undone once more.")] = True,
    wait_seconds: Annotated[float, typer.Option(min=0, max=30, help="How long to wait for each tenant.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Read every tenant now and retry plans that ended badly; exit code 3 when a tenant did not answer."""
    client = api(context)
    customers = [customer] if customer else _customers(client)
    tenants = [found for name in customers for found in _read(client, name, wait_seconds)]
    retried = [plan for name in customers for plan in _retry(client, name)] if retry else []
    if as_json:
        print_json({"tenants": tenants, "retried": retried})
    else:
        columns = {"customer": "customer", "tenant_id": "tenant", "state": "state", "fresh": "answered now"}
        print_rows(tenants, columns, title="Tenants read", empty="There are no tenants.")
        columns = {"customer": "customer", "employee_id": "person", "plan_id": "plan"}
        print_rows(retried, columns, title="Plans tried again", empty="No plan ended badly.")
    if not all(each["state"] == "ready" and each["fresh"] for each in tenants):
        raise typer.Exit(EXIT_NOT_SUCCEEDED)


def _customers(client: Api) -> list[str]:
    return [each["customer"] for each in client.pages("orchestrator", "/customers", most=PEOPLE_COUNT_MAX)]


def _read(client: Api, customer: str, wait_seconds: float) -> list[dict[str, Any]]:
    found = []
    for tenant in client.get("orchestrator", f"/customers/{customer}")["tenants"]:
        path = f"/customers/{customer}/tenants/{tenant['tenant_id']}/test"
        read = client.post("orchestrator", path, wait_seconds=wait_seconds)
        found.append(
            {"customer": customer, "tenant_id": read["tenant_id"], "state": read["state"], "fresh": read["fresh"]}
        )
    return found


def _retry(client: Api, customer: str) -> list[dict[str, Any]]:
    people = [
        person
        for status in ENDED_BADLY
        for person in client.pages("orchestrator", "/people", most=PEOPLE_COUNT_MAX, customer=customer, status=status)
    ]
    for person in people:
        client.post("orchestrator", f"/plans/{person['plan_id']}/retry")
    return [{"customer": customer, "employee_id": each["employee_id"], "plan_id": each["plan_id"]} for each in people]
