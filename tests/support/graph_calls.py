"""The simulated Graph called by hand: the usual writes and the parts of a refusal."""

import httpx

from support.simulated import Tenant

E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
E3 = "05e9a617-0261-4cee-bb44-138d3ef5d965"
MCOEV_SKU = "e43b5b99-8dfb-405f-9987-dc307f34bcbd"
MCOSTANDARD = "0feaeb32-d00e-4d66-bd5a-43b5b83db82c"
MCOEV = "4828c8ec-dc2e-4779-b502-87ac9ce28ab7"
EXCHANGE_STANDARD_SKU = "4b9405b0-7788-4568-add1-99614e613b69"
JSON = {"Content-Type": "application/json"}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def message_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


def create(graph: httpx.Client, tenant: Tenant, local: str, **properties: object) -> str:
    answer = graph.post("/users", json=tenant.user_body(local, **properties))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def assign(
    graph: httpx.Client, user: str, *add: str, remove: tuple[str, ...] = (), **disabled: list[str]
) -> httpx.Response:
    body = {
        "addLicenses": [{"skuId": sku, "disabledPlans": disabled.get("disabled", [])} for sku in add],
        "removeLicenses": list(remove),
    }
    return graph.post(f"/users/{user}/assignLicense", json=body)
