"""What a tenant looks like from outside all faces: the truth, without replication delays. Owns the JSON of each
section."""

from collections.abc import Callable
from typing import Any

from ucmesh_simulator.clock import iso
from ucmesh_simulator.directory.user_view import assigned_licenses
from ucmesh_simulator.objects import Application, User
from ucmesh_simulator.tenant import Tenant

REQUESTS_SHOWN_DEFAULT = 1000


def show(tenant: Tenant, section: str, *, limit: int = REQUESTS_SHOWN_DEFAULT, face: str | None = None) -> Any:
    """Raises KeyError for an unknown section."""
    if section == "requests":
        entries = tenant.requests.entries(face=face, limit=limit)
        return {"counts": dict(tenant.requests.counts), "entries": [entry.as_dict() for entry in entries]}
    return SECTIONS[section](tenant)


def _users(tenant: Tenant) -> list[dict[str, Any]]:
    return [_user(tenant, user) for user in tenant.users.values()]


def _user(tenant: Tenant, user: User) -> dict[str, Any]:
    manager = tenant.users.get(user.manager or "")
    return {
        **user.props,
        "id": user.id,
        "createdDateTime": iso(user.created_at),
        "manager_id": user.manager,
        "manager_upn": manager.upn if manager else None,
        "group_ids": list(user.groups),
        "groups": [tenant.groups[one].props["displayName"] for one in user.groups if one in tenant.groups],
        "assignedLicenses": assigned_licenses(tenant, user),
        "licences": [tenant.skus[one].part_number for one in user.licences],
        "deletedDateTime": None if user.deleted_at is None else iso(user.deleted_at),
    }


def _groups(tenant: Tenant) -> list[dict[str, Any]]:
    return [{**group.props, "id": group.id, "members": list(group.members)} for group in tenant.groups.values()]


def _skus(tenant: Tenant) -> list[dict[str, Any]]:
    return [
        {
            "skuId": sku.sku_id,
            "skuPartNumber": sku.part_number,
            "enabled": sku.enabled,
            "warning": sku.warning,
            "consumed": sku.consumed,
            "servicePlans": [{"servicePlanId": plan, "servicePlanName": name} for plan, name in sku.plans],
        }
        for sku in tenant.skus.values()
    ]


def _mailboxes(tenant: Tenant) -> list[dict[str, Any]]:
    now = tenant.now()
    return [
        {
            "user_id": user.id,
            "userPrincipalName": user.upn,
            "guid": user.mailbox.guid,
            "primary_smtp_address": user.mailbox.primary_smtp_address,
            "visible": user.mailbox.visible_at <= now and user.mailbox.disconnected_at is None,
            "visible_at": iso(user.mailbox.visible_at),
            "disconnected_at": None if user.mailbox.disconnected_at is None else iso(user.mailbox.disconnected_at),
            "type": user.mailbox.type_details,
            "settings": user.mailbox.settings,
            "cas": user.mailbox.cas,
        }
        for user in tenant.users.values()
        if user.mailbox is not None
    ]


def _teams_users(tenant: Tenant) -> list[dict[str, Any]]:
    now = tenant.now()
    return [
        {
            "user_id": user.id,
            "userPrincipalName": user.upn,
            "visible": user.teams.visible_at <= now,
            "visible_at": iso(user.teams.visible_at),
            "line_uri": user.teams.line_uri,
            "enterprise_voice": user.teams.enterprise_voice,
            "policies": {policy_type: grant.name for policy_type, grant in user.teams.grants.items() if grant.name},
        }
        for user in tenant.users.values()
        if user.teams is not None
    ]


def _numbers(tenant: Tenant) -> list[dict[str, Any]]:
    shown = []
    for number in tenant.numbers.values():
        holder = tenant.users.get(number.holder or "")
        shown.append(
            {
                "number": number.number,
                "type": number.number_type,
                "holder": number.holder,
                "holder_upn": holder.upn if holder else None,
                "category": number.category,
                "location_id": number.location_id,
            }
        )
    return shown


def _applications(tenant: Tenant) -> list[dict[str, Any]]:
    return [_application(one) for one in tenant.applications.values()]


def _application(application: Application) -> dict[str, Any]:
    return {
        "object_id": application.object_id,
        "client_id": application.client_id,
        "display_name": application.display_name,
        "enabled": application.enabled,
        "roles": sorted(application.roles),
        "keys": [
            {
                "key_id": key.key_id,
                "thumbprint": key.sha1.hex().upper(),
                "display_name": key.display_name,
                "start": iso(key.start),
                "end": iso(key.end),
                "usable_at": iso(key.usable_at),
            }
            for key in application.keys
        ],
        "secrets": [
            {"key_id": secret.key_id, "display_name": secret.display_name, "end": iso(secret.end)}
            for secret in application.secrets
        ],
    }


SECTIONS: dict[str, Callable[[Tenant], Any]] = {
    "users": _users,
    "deleted_users": lambda tenant: [_user(tenant, user) for user in tenant.deleted_users.values()],
    "groups": _groups,
    "skus": _skus,
    "mailboxes": _mailboxes,
    "teams_users": _teams_users,
    "numbers": _numbers,
    "applications": _applications,
    "policies": lambda tenant: {
        kind: [policy.name for policy in names.values()] for kind, names in tenant.policies.items()
    },
    "effects": lambda tenant: tenant.effects.as_list(),
    "faults": lambda tenant: [fault.as_dict() for fault in tenant.faults.all()],
}
