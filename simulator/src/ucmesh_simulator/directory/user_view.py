"""A user as Graph shows it. Owns computed properties (licences, plans, mail) and the order of the answer."""

from collections.abc import Callable, Mapping
from typing import Any

from ucmesh_simulator.clock import iso
from ucmesh_simulator.directory import schema
from ucmesh_simulator.objects import User
from ucmesh_simulator.tenant import Tenant

_EMPTY_LISTS = frozenset(name for name, kind in schema.properties("user").items() if str(kind["type"]).startswith("["))


def render_user(
    tenant: Tenant, user: User, names: tuple[str, ...], props: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`props` overrides what is read, for lists that lag behind."""
    held = user.props if props is None else props
    shown: dict[str, Any] = {}
    for name in names:
        compute = _COMPUTED.get(name)
        if compute is not None:
            shown[name] = compute(tenant, user)
            continue
        value = held.get(name)
        shown[name] = [] if value is None and name in _EMPTY_LISTS else value
    return shown


def assigned_licenses(_: Tenant, user: User) -> list[dict[str, Any]]:
    return [{"disabledPlans": list(one.disabled_plans), "skuId": one.sku_id} for one in user.licences.values()]


def mail_of(tenant: Tenant, user: User) -> str | None:
    if user.mailbox is not None and user.mailbox.visible_at <= tenant.now():
        return user.mailbox.primary_smtp_address
    mail: str | None = user.props.get("mail")
    return mail


def _assigned_plans(tenant: Tenant, user: User) -> list[dict[str, Any]]:
    return [
        {
            "assignedDateTime": iso(since),
            "capabilityStatus": "Enabled",
            "service": tenant.plan_services.get(plan, "unknown"),
            "servicePlanId": plan,
        }
        for plan, since in user.plans.items()
    ]


def _provisioned_plans(tenant: Tenant, user: User) -> list[dict[str, Any]]:
    now = tenant.now()
    done = [plan for plan in user.plans if user.plan_ready.get(plan, 0.0) <= now]
    return [
        {
            "capabilityStatus": "Enabled",
            "provisioningStatus": "Success",
            "service": tenant.plan_services.get(plan, "unknown"),
        }
        for plan in done
    ]


def _licence_states(_: Tenant, user: User) -> list[dict[str, Any]]:
    return [
        {
            "skuId": one.sku_id,
            "disabledPlans": list(one.disabled_plans),
            "assignedByGroup": None,
            "state": "Active",
            "error": "None",
            "lastUpdatedDateTime": iso(one.assigned_at),
        }
        for one in user.licences.values()
    ]


def _proxy_addresses(tenant: Tenant, user: User) -> list[str]:
    mail = mail_of(tenant, user)
    if user.mailbox is not None and user.mailbox.visible_at <= tenant.now():
        addresses: list[str] = user.mailbox.settings.get("EmailAddresses", [])
        return list(addresses)
    return [f"SMTP:{mail}"] if mail else []


_COMPUTED: dict[str, Callable[[Tenant, User], Any]] = {
    "id": lambda _, user: user.id,
    "createdDateTime": lambda _, user: iso(user.created_at),
    "deletedDateTime": lambda _, user: None if user.deleted_at is None else iso(user.deleted_at),
    "assignedLicenses": assigned_licenses,
    "assignedPlans": _assigned_plans,
    "provisionedPlans": _provisioned_plans,
    "licenseAssignmentStates": _licence_states,
    "mail": mail_of,
    "proxyAddresses": _proxy_addresses,
    "passwordProfile": lambda _, __: None,
    "userType": lambda _, user: user.props.get("userType", "Member"),
}
