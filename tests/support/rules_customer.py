"""A customer for the tests of the rules, and builders with memorable names."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson

from mesh_messaging.envelope import CloudEvent
from orchestrator.domain.customer import Customer
from orchestrator.wire.customer import CustomerDocument
from support.plan_script import START, TENANT

OTHER_TENANT = "c41e7b90-5d2c-4f0a-a3b8-90e1f2d3c4b5"
E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
E3 = "05e9a617-0261-4cee-bb44-138d3ef5d965"
PHONE_PLAN_ID = "4828c8ec-dc2e-4779-b502-87ac9ce28ab7"
ALL_STAFF = "11111111-0000-4000-8000-000000000001"
VOICE_USERS = "11111111-0000-4000-8000-000000000002"

DOCUMENT: dict[str, Any] = {
    "customer": "northwind",
    "name": "Northwind Traders",
    "tenants": [
        {
            "tenant_id": TENANT,
            "name": "Northwind",
            "organization": "northwind.onmicrosoft.com",
            "domain": "northwind.example",
            "cloud": "commercial",
            "application": {
                "client_id": "3f0c1c1e-7a58-4d38-8a1b-6d0f2f3a4b5c",
                "object_id": "b7d9a0e2-9c1d-4a7b-8c56-1d2e3f405162",
                "bootstrap_secret": {"value": "first-secret"},
            },
        }
    ],
    "sites": [
        {
            "site": "zurich",
            "name": "Zürich",
            "country": "CH",
            "usage_location": "CH",
            "time_zone": "Europe/Zurich",
            "language": "de-CH",
            "tenant": TENANT,
            "move": "in-zurich",
            "defaults": {"teams_policies": {"TenantDialPlan": "CH-Zurich"}, "business_phone": "+41445550000"},
        },
        {
            "site": "berlin",
            "name": "Berlin",
            "country": "DE",
            "usage_location": "DE",
            "time_zone": "Europe/Berlin",
            "tenant": TENANT,
            "move": "in-berlin",
        },
    ],
    "numbers": [
        {"site": "zurich", "type": "DirectRouting", "first": "+41445551000", "last": "+41445551004"},
        {"site": "berlin", "type": "DirectRouting", "numbers": ["+493023125100"]},
    ],
    "filters": [
        {
            "filter": "in-zurich",
            "usage": "move",
            "rows": [
                {"attribute": "city", "condition": "equals", "value": "Zürich", "next": "or"},
                {"attribute": "city", "condition": "equals", "value": "Zurich"},
            ],
        },
        {
            "filter": "in-berlin",
            "usage": "move",
            "rows": [{"attribute": "city", "condition": "equals", "value": "Berlin"}],
        },
        {
            "filter": "sales",
            "usage": "flow-through",
            "rows": [{"attribute": "department", "condition": "regex", "value": "^Sales"}],
        },
        {
            "filter": "office",
            "usage": "flow-through",
            "rows": [{"attribute": "department", "condition": "equals", "value": "Office"}],
        },
    ],
    "profiles": [
        {
            "profile": "voice",
            "upn": "{given}.{surname}",
            "display_name": "{given} {surname}",
            "licences": [{"sku": "SPE_E5"}],
            "groups": ["All Staff", "Voice Users"],
            "mailbox": {"MessageCopyForSentAsEnabled": True},
            "cas_mailbox": {"ImapEnabled": False},
            "teams_policies": {"TeamsCallingPolicy": "AllowCalling"},
            "number": "required",
            "manager": "wait",
            "manager_wait_seconds": 600,
        },
        {
            "profile": "office",
            "upn": "{given}.{surname}",
            "licences": [{"sku": "SPE_E3", "disabled_plans": ["YAMMER_ENTERPRISE"]}],
            "groups": ["All Staff"],
            "manager": "ignore",
        },
    ],
    "flow_through": [{"filter": "sales", "profile": "voice"}, {"filter": "office", "profile": "office"}],
}

OBSERVATION: dict[str, Any] = {
    "organization": {"id": TENANT, "displayName": "Northwind", "verifiedDomains": []},
    "skus": [
        {
            "skuId": E5,
            "skuPartNumber": "SPE_E5",
            "capabilityStatus": "Enabled",
            "enabled": 20,
            "warning": 0,
            "consumed": 0,
            "servicePlans": [
                {"servicePlanId": PHONE_PLAN_ID, "servicePlanName": "MCOEV"},
                {"servicePlanId": "57ff2da0-773e-42df-b2af-ffb7a2317929", "servicePlanName": "TEAMS1"},
                {"servicePlanId": "efb87545-963c-4e0d-99df-69c6916d9eb0", "servicePlanName": "EXCHANGE_S_ENTERPRISE"},
            ],
        },
        {
            "skuId": E3,
            "skuPartNumber": "SPE_E3",
            "capabilityStatus": "Enabled",
            "enabled": 20,
            "warning": 0,
            "consumed": 0,
            "servicePlans": [
                {"servicePlanId": "7547a3fe-08ee-4ccb-b430-5077c5041653", "servicePlanName": "YAMMER_ENTERPRISE"},
                {"servicePlanId": "efb87545-963c-4e0d-99df-69c6916d9eb0", "servicePlanName": "EXCHANGE_S_ENTERPRISE"},
            ],
        },
    ],
    "groups": [
        {"id": ALL_STAFF, "displayName": "All Staff"},
        {"id": VOICE_USERS, "displayName": "Voice Users"},
    ],
    "capabilities": {"user.ensure": {"allowed": True, "missing": []}},
}


def document(**changes: Any) -> dict[str, Any]:
    """A fresh copy of the customer's document with top-level parts replaced."""
    return deepcopy(DOCUMENT) | changes


def customer(**changes: Any) -> Customer:
    return CustomerDocument.model_validate(document(**changes)).to_domain()


def observation(**seats: int) -> dict[str, Any]:
    """What the tenant holds; `SPE_E5=3` sets the seats bought of a licence."""
    seen = deepcopy(OBSERVATION)
    for sku in seen["skus"]:
        sku["enabled"] = seats.get(sku["skuPartNumber"], sku["enabled"])
    return seen


def hr_data(employee_id: str = "NW-1", *, sequence: int = 1, **person: Any) -> dict[str, Any]:
    """Zoë Müller of sales in Zürich, unless told otherwise; `effective_date` and `customer` go to the event."""
    data: dict[str, Any] = {"customer": "northwind", "employee_id": employee_id, "sequence": sequence}
    for name in ("customer", "effective_date"):
        if name in person:
            data[name] = person.pop(name)
    facts = {"given_name": "Zoë", "surname": "Müller", "department": "Sales", "city": "Zürich", "country": "CH"}
    data["person"] = {name: value for name, value in (facts | person).items() if value is not None}
    return data


def hr_event(
    employee_id: str = "NW-1", *, event_id: str | None = None, kind: str = "joined", **data: Any
) -> CloudEvent:
    given = hr_data(employee_id, **data)
    return CloudEvent(
        id=event_id or f"{employee_id}-{given['sequence']}-{kind}",
        source="/hr/northwind",
        type=f"ucmesh.hr.person.v1.{kind}",
        time=START,
        subject=employee_id,
        tenant=None,
        data=orjson.dumps(given),
    )
