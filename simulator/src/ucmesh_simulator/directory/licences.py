"""assignLicense, licenseDetails and subscribedSkus. Owns their bodies; the rules are licensing.py's."""

from typing import Any

from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import bad_request, denied, not_found, unsupported_query
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.directory.query import selected
from ucmesh_simulator.directory.user_view import render_user
from ucmesh_simulator.directory.visibility import readable_user, referable_user
from ucmesh_simulator.licensing import LicenceChange, LicenceRefusedError, change_licences, consumed_shown
from ucmesh_simulator.objects import Sku
from ucmesh_simulator.tenant import Tenant

SKU_PROPERTIES = (
    "accountId", "accountName", "appliesTo", "capabilityStatus", "consumedUnits", "id", "prepaidUnits",
    "servicePlans", "skuId", "skuPartNumber", "subscriptionIds",
)  # fmt: skip


def assign_license(request: GraphRequest, key: str) -> GraphReply:
    body = request.object_body()
    change = _change(body)
    user = referable_user(request.tenant, key)
    if user.props.get("userType") == "Guest" and not change.add and not change.remove:
        raise denied()
    try:
        change_licences(request.tenant, user, change)
    except LicenceRefusedError as refused:
        raise bad_request(str(refused)) from refused
    shown: dict[str, Any] = {"@odata.context": request.context("users/$entity")}
    return GraphReply(200, shown | render_user(request.tenant, user, schema.USER_DEFAULTS))


def _change(body: dict[str, Any]) -> LicenceChange:
    add, remove = body.get("addLicenses"), body.get("removeLicenses")
    if not isinstance(add, list) or not isinstance(remove, list):
        missing = "addLicenses" if not isinstance(add, list) else "removeLicenses"
        raise bad_request(f"Value cannot be null. Parameter name: {missing}")
    if not add and not remove:
        raise bad_request("At least one of addLicenses or removeLicenses must be specified.")
    wanted: dict[str, tuple[str, ...]] = {}
    for item in add:
        if (
            not isinstance(item, dict)
            or not isinstance(item.get("skuId"), str)
            or not isinstance(item.get("disabledPlans", []), list)
        ):
            raise bad_request("Property 'addLicenses' in payload has a value that does not match schema.")
        wanted[item["skuId"].lower()] = tuple(str(plan).lower() for plan in item.get("disabledPlans", []))
    if any(not isinstance(one, str) for one in remove):
        raise bad_request("Property 'removeLicenses' in payload has a value that does not match schema.")
    return LicenceChange(add=wanted, remove=[one.lower() for one in remove])


def license_details(request: GraphRequest, key: str) -> GraphReply:
    user = readable_user(request.tenant, key)
    values = []
    for licence in user.licences.values():
        sku = request.tenant.skus[licence.sku_id]
        values.append(
            {
                "id": f"{user.id[:8]}_{sku.sku_id}",
                "skuId": sku.sku_id,
                "skuPartNumber": sku.part_number,
                "servicePlans": [
                    _plan(plan, name, "Disabled" if plan in licence.disabled_plans else "Success")
                    for plan, name in sku.plans
                ],
            }
        )
    return GraphReply(200, {"@odata.context": request.context(f"users('{user.id}')/licenseDetails"), "value": values})


def list_skus(request: GraphRequest) -> GraphReply:
    if request.query.keys() & {"$filter", "$top", "$skip", "$orderby", "$search"}:
        raise unsupported_query()
    names = selected(request, "subscribedSku", SKU_PROPERTIES)
    values = [_project(render_sku(request.tenant, sku), names) for sku in request.tenant.skus.values()]
    return GraphReply(200, {"@odata.context": request.context("subscribedSkus"), "value": values})


def get_sku(request: GraphRequest, key: str) -> GraphReply:
    sku = request.tenant.skus.get(key.rsplit("_", 1)[-1].lower())
    if sku is None:
        raise not_found(key)
    shown: dict[str, Any] = {"@odata.context": request.context("subscribedSkus/$entity")}
    return GraphReply(
        200, shown | _project(render_sku(request.tenant, sku), selected(request, "subscribedSku", SKU_PROPERTIES))
    )


def render_sku(tenant: Tenant, sku: Sku) -> dict[str, Any]:
    return {
        "accountId": tenant.id,
        "accountName": tenant.initial_domain.split(".")[0],
        "appliesTo": "User",
        "capabilityStatus": sku.capability_status,
        "consumedUnits": consumed_shown(tenant, sku),
        "id": f"{tenant.id}_{sku.sku_id}",
        "prepaidUnits": {"enabled": sku.enabled, "suspended": 0, "warning": sku.warning, "lockedOut": 0},
        "servicePlans": [_plan(plan, name, "Success") for plan, name in sku.plans],
        "skuId": sku.sku_id,
        "skuPartNumber": sku.part_number,
        "subscriptionIds": [f"{sku.sku_id[:24]}{tenant.id[24:]}"],
    }


def _plan(plan: str, name: str, status: str) -> dict[str, Any]:
    return {"appliesTo": "User", "provisioningStatus": status, "servicePlanId": plan, "servicePlanName": name}


def _project(shown: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: shown.get(name) for name in names}
