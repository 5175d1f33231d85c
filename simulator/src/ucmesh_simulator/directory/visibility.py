"""Which face sees what, when. Owns the replica lag after create, the index lag of lists and the way of attribute
changes to Exchange and Teams."""

from collections.abc import Iterator, Mapping
from typing import Any

from ucmesh_simulator.directory.errors import not_found
from ucmesh_simulator.objects import Group, Replica, User
from ucmesh_simulator.tenant import Tenant

# Attributes Exchange and Teams take over from the directory.
SYNCED = frozenset({
    "accountEnabled", "businessPhones", "city", "companyName", "country", "department", "displayName", "employeeId",
    "givenName", "jobTitle", "mailNickname", "mobilePhone", "officeLocation", "surname", "usageLocation",
    "userPrincipalName",
})  # fmt: skip


def readable_user(tenant: Tenant, key: str) -> User:
    """A user for a GET by id or UPN; a fresh one may be missing on the replica that answers. Raises 404."""
    user = tenant.find_user(key)
    if user is None or missed(tenant, user):
        raise not_found(key)
    return user


def referable_user(tenant: Tenant, key: str) -> User:
    """A user for a write or a reference. Raises 404, also for one created too short a time ago."""
    user = tenant.find_user(key)
    if user is None or tenant.now() < user.referable_at:
        raise not_found(key)
    return user


def referable_group(tenant: Tenant, key: str) -> Group:
    group = tenant.groups.get(key) or tenant.groups.get(key.lower())
    if group is None or tenant.now() < group.referable_at:
        raise not_found(key)
    return group


def readable_group(tenant: Tenant, key: str) -> Group:
    group = tenant.groups.get(key) or tenant.groups.get(key.lower())
    if group is None or missed(tenant, group):
        raise not_found(key)
    return group


def missed(tenant: Tenant, item: User | Group) -> bool:
    if item.visible_at <= tenant.now():
        return False
    share = tenant.knobs.replica_miss_probability
    return share >= 1 or (share > 0 and tenant.random.random() < share)


def indexed_users(tenant: Tenant, keys: Mapping[str, tuple[str, ...]]) -> Iterator[User]:
    """The users lists can show, in sequence; `keys` narrows by equality without walking the whole tenant."""
    now = tenant.now()
    candidates = _candidates(tenant, keys)
    users = tenant.users.values() if candidates is None else sorted(candidates, key=lambda user: user.sequence)
    return (user for user in users if user.indexed_at <= now)


def _candidates(tenant: Tenant, keys: Mapping[str, tuple[str, ...]]) -> list[User] | None:
    if tenant.knobs.index_lag_seconds:  # an index entry may differ from today's value, so the fast way is not exact
        return None
    for name in ("id", "userPrincipalName", "employeeId"):
        values = keys.get(name)
        if values is None:
            continue
        if name == "employeeId":
            ids = [user_id for value in values for user_id in tenant.user_ids_by_employee.get(value, ())]
        elif name == "userPrincipalName":
            ids = [tenant.user_id_by_upn[value] for value in values if value in tenant.user_id_by_upn]
        else:
            ids = list(values)
        return [tenant.users[user_id] for user_id in dict.fromkeys(ids) if user_id in tenant.users]
    return None


def index_props(tenant: Tenant, user: User) -> dict[str, Any]:
    """The properties lists compare and show."""
    if user.index is None:
        return user.props
    props = user.index.read(tenant.now())
    if not user.index.pending:
        user.index = None
        return user.props
    return props


def spread_change(tenant: Tenant, user: User, changes: dict[str, Any]) -> None:
    """Writes to the directory and sends the change on its way to the index, Exchange and Teams."""
    now = tenant.now()
    if tenant.knobs.index_lag_seconds:
        if user.index is None:
            user.index = Replica(attributes=dict(user.props))
        user.index.change(dict(changes), now + tenant.knobs.index_lag_seconds, now)
    tenant.change_user(user, changes)
    synced = {name: value for name, value in changes.items() if name in SYNCED}
    if synced:
        arrives_at = now + tenant.spread(tenant.knobs.attribute_sync_seconds)
        user.exchange.change(synced, arrives_at, now)
        user.teams_view.change(synced, arrives_at, now)
