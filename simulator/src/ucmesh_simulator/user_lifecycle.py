"""The end and the return of a user across faces: soft delete, restore, purge. Owns what goes with a user (seats,
numbers, mailbox, memberships); the faces call it."""

from ucmesh_simulator.licensing import release_all
from ucmesh_simulator.objects import User
from ucmesh_simulator.tenant import Tenant

RETENTION_SECONDS = 30 * 24 * 3600.0


def remove_from_tenant(tenant: Tenant, user: User) -> None:
    """Soft delete: licences are free at once, memberships and links end, the object waits 30 days under its own id."""
    release_all(tenant, user)
    for group_id in list(user.groups):
        group = tenant.groups.get(group_id)
        if group is not None:
            group.members.pop(user.id, None)
    for report_id in list(user.reports):
        report = tenant.users.get(report_id)
        if report is not None:
            report.manager = None
    manager = tenant.users.get(user.manager or "")
    if manager is not None:
        manager.reports.pop(user.id, None)
    user.groups.clear()
    user.reports.clear()
    user.manager = None
    user.deleted_at = tenant.now()
    tenant.remove_user(user)
    tenant.deleted_users[user.id] = user


def expire_deleted(tenant: Tenant) -> None:
    """Purges what passed its 30 days."""
    now = tenant.now()
    for user in [
        one for one in tenant.deleted_users.values() if one.deleted_at and now - one.deleted_at >= RETENTION_SECONDS
    ]:
        purge(tenant, user)


def purge(tenant: Tenant, user: User) -> None:
    tenant.deleted_users.pop(user.id, None)
    for address in [address for address, holder in tenant.user_id_by_address.items() if holder == user.id]:
        del tenant.user_id_by_address[address]
