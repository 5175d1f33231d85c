"""The tenant itself: /organization and /domains. Read only."""

from typing import Any

from ucmesh_simulator.clock import iso
from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import not_found
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.tenant import Tenant


def list_organization(request: GraphRequest) -> GraphReply:
    return GraphReply(200, {"@odata.context": request.context("organization"), "value": [_project(request)]})


def get_organization(request: GraphRequest, key: str) -> GraphReply:
    if key.lower() != request.tenant.id:
        raise not_found(key)
    shown: dict[str, Any] = {"@odata.context": request.context("organization/$entity")}
    return GraphReply(200, shown | _project(request))


def _project(request: GraphRequest) -> dict[str, Any]:
    whole = _render(request.tenant)
    text = request.query.get("$select")
    if not text:
        return whole
    names = [name.strip() for name in text.split(",") if name.strip()]
    schema.check_names("organization", names)
    return {name: whole.get(name) for name in dict.fromkeys(["id", *names])}


def _render(tenant: Tenant) -> dict[str, Any]:
    plans = {plan: sku for sku in tenant.skus.values() for plan, _ in sku.plans}
    return {
        "id": tenant.id,
        "deletedDateTime": None,
        "businessPhones": [],
        "city": None,
        "country": None,
        "countryLetterCode": tenant.country,
        "createdDateTime": iso(tenant.created_at),
        "defaultUsageLocation": None,
        "displayName": tenant.display_name,
        "marketingNotificationEmails": [],
        "onPremisesLastSyncDateTime": None,
        "onPremisesSyncEnabled": None,
        "postalCode": None,
        "preferredLanguage": "en",
        "securityComplianceNotificationMails": [],
        "securityComplianceNotificationPhones": [],
        "state": None,
        "street": None,
        "technicalNotificationMails": [],
        "tenantType": "AAD",
        "assignedPlans": [
            {
                "assignedDateTime": iso(tenant.created_at),
                "capabilityStatus": sku.capability_status,
                "service": tenant.plan_services.get(plan, "unknown"),
                "servicePlanId": plan,
            }
            for plan, sku in plans.items()
        ],
        "provisionedPlans": [],
        "verifiedDomains": [_domain(tenant, name) for name in tenant.domains],
    }


def _domain(tenant: Tenant, name: str) -> dict[str, Any]:
    initial = name == tenant.initial_domain
    default = name == next((one for one in tenant.domains if one != tenant.initial_domain), tenant.initial_domain)
    return {
        "capabilities": "Email, OfficeCommunicationsOnline",
        "isDefault": default,
        "isInitial": initial,
        "name": name,
        "type": "Managed" if tenant.domains[name] else "Federated",
    }


def list_domains(request: GraphRequest) -> GraphReply:
    values = []
    for name, managed in request.tenant.domains.items():
        shown = _domain(request.tenant, name)
        values.append(
            {
                "id": name,
                "authenticationType": "Managed" if managed else "Federated",
                "isAdminManaged": True,
                "isDefault": shown["isDefault"],
                "isInitial": shown["isInitial"],
                "isRoot": True,
                "isVerified": True,
                "supportedServices": ["Email", "OfficeCommunicationsOnline"],
            }
        )
    return GraphReply(200, {"@odata.context": request.context("domains"), "value": values})
