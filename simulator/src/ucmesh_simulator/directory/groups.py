"""Groups and memberships. Owns create, read, update, delete, list, members/$ref and memberOf."""

import re
from collections.abc import Iterable
from typing import Any

from ucmesh_simulator.clock import iso
from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import bad_request, conflict, not_found, synced_object
from ucmesh_simulator.directory.filters import Filter
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.directory.query import filter_of, page, selected
from ucmesh_simulator.directory.user_view import render_user
from ucmesh_simulator.directory.users import reference_of
from ucmesh_simulator.directory.visibility import readable_group, readable_user, referable_group, referable_user
from ucmesh_simulator.objects import Group, User
from ucmesh_simulator.tenant import Tenant

BIND_MAX = 20
_NICKNAME = re.compile(r"^[^@()\\\[\]\";:<>, ]{1,64}$")
_READ_ONLY = frozenset({
    "id", "createdDateTime", "deletedDateTime", "mail", "proxyAddresses", "onPremisesSyncEnabled", "renewedDateTime",
    "securityIdentifier", "assignedLicenses", "licenseProcessingState",
})  # fmt: skip
_EMPTY_LISTS = frozenset(name for name, kind in schema.properties("group").items() if str(kind["type"]).startswith("["))


def new_group(tenant: Tenant, props: dict[str, Any], group_id: str | None = None) -> Group:
    now, knobs = tenant.now(), tenant.knobs
    group = Group(
        id=group_id or tenant.new_id(),
        sequence=tenant.next_sequence(),
        props=props,
        created_at=now,
        visible_at=now + knobs.replica_lag_seconds,
        referable_at=now + knobs.reference_lag_seconds,
        indexed_at=now + knobs.index_lag_seconds,
    )
    tenant.groups[group.id] = group
    return group


def render_group(group: Group, names: tuple[str, ...]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in names:
        value = group.props.get(name)
        shown[name] = [] if value is None and name in _EMPTY_LISTS else value
    if "id" in shown:
        shown["id"] = group.id
    if "createdDateTime" in shown:
        shown["createdDateTime"] = iso(group.created_at)
    return shown


def create_group(request: GraphRequest) -> GraphReply:
    body = request.object_body()
    props = {name: value for name, value in body.items() if "@odata." not in name}
    schema.check_body("group", props, read_only=_READ_ONLY)
    for name in ("displayName", "mailEnabled", "mailNickname", "securityEnabled"):
        if props.get(name) is None:
            raise bad_request(f"A value is required for property '{name}' of resource 'Group'.")
    if not _NICKNAME.match(str(props["mailNickname"])):
        raise bad_request("Invalid value specified for property 'mailNickname' of resource 'Group'.")
    unified = "Unified" in (props.get("groupTypes") or [])
    if props["mailEnabled"] and not unified:
        raise bad_request(
            "The service does not currently support writes of mail-enabled groups. Please ensure that the "
            "mail-enablement property is unset and the security-enablement property is set."
        )
    nickname = str(props["mailNickname"]).lower()
    if unified and any(
        str(one.props.get("mailNickname")).lower() == nickname for one in request.tenant.groups.values()
    ):
        raise conflict("mailNickname")
    members = [
        referable_user(request.tenant, reference_of({"@odata.id": one})) for one in _bound(body, "members@odata.bind")
    ]
    group = new_group(request.tenant, props)
    for user in members:
        _join(group, user)
    shown: dict[str, Any] = {"@odata.context": request.context("groups/$entity")}
    return GraphReply(
        201,
        shown | render_group(group, schema.GROUP_DEFAULTS),
        {"location": f"{request.origin}/v1.0/groups/{group.id}"},
    )


def _bound(body: dict[str, Any], name: str) -> list[str]:
    bound = body.get(name, [])
    if not isinstance(bound, list) or len(bound) > BIND_MAX:
        raise bad_request(f"At most {BIND_MAX} references can be bound in one request.")
    return [str(one) for one in bound]


def get_group(request: GraphRequest, key: str) -> GraphReply:
    names = selected(request, "group", schema.GROUP_DEFAULTS)
    group = readable_group(request.tenant, key)
    shown: dict[str, Any] = {"@odata.context": request.context("groups/$entity")}
    return GraphReply(200, shown | render_group(group, names))


def patch_group(request: GraphRequest, key: str) -> GraphReply:
    body = request.object_body()
    group = referable_group(request.tenant, key)
    props = {name: value for name, value in body.items() if "@odata." not in name}
    schema.check_body("group", props, read_only=_READ_ONLY)
    users = [
        referable_user(request.tenant, reference_of({"@odata.id": one})) for one in _bound(body, "members@odata.bind")
    ]
    if users:
        _check_joinable(group)
        if any(user.id in group.members for user in users):
            raise _already()
    group.props.update(props)
    for user in users:
        _join(group, user)
    return GraphReply(204)


def delete_group(request: GraphRequest, key: str) -> GraphReply:
    group = request.tenant.groups.get(key.lower())
    if group is None:
        raise not_found(key)
    for user_id in group.members:
        user = request.tenant.users.get(user_id)
        if user is not None:
            user.groups.pop(group.id, None)
    del request.tenant.groups[group.id]
    return GraphReply(204)


def list_groups(request: GraphRequest) -> GraphReply:
    names = selected(request, "group", schema.GROUP_DEFAULTS)
    wanted = filter_of(request, "group")
    now = request.tenant.now()
    rows = (one for one in request.tenant.groups.values() if one.indexed_at <= now and _matches(one, wanted))
    return page(request, rows, lambda group: render_group(group, names), "groups")


def _matches(group: Group, wanted: Filter | None) -> bool:
    return wanted is None or wanted.matches({**group.props, "id": group.id})


# -- members ----------------------------------------------------------------------------------------------------------
def add_member(request: GraphRequest, key: str) -> GraphReply:
    member_key = reference_of(request.object_body())
    group = referable_group(request.tenant, key)
    user = referable_user(request.tenant, member_key)
    _check_joinable(group)
    if user.id in group.members:
        raise _already()
    _join(group, user)
    return GraphReply(204)


def remove_member(request: GraphRequest, key: str, member_key: str) -> GraphReply:
    group = referable_group(request.tenant, key)
    _check_joinable(group)
    if member_key.lower() not in group.members:
        raise not_found(member_key)
    group.members.pop(member_key.lower())
    user = request.tenant.users.get(member_key.lower())
    if user is not None:
        user.groups.pop(group.id, None)
    return GraphReply(204)


def list_members(request: GraphRequest, key: str) -> GraphReply:
    group = readable_group(request.tenant, key)
    names = selected(request, "user", schema.USER_DEFAULTS)
    users = (request.tenant.users[user_id] for user_id in group.members if user_id in request.tenant.users)

    def render(user: User) -> dict[str, Any]:
        return {"@odata.type": "#microsoft.graph.user", **render_user(request.tenant, user, names)}

    return page(request, _in_sequence(users), render, "directoryObjects")


def member_of(request: GraphRequest, key: str) -> GraphReply:
    user = readable_user(request.tenant, key)
    names = selected(request, "group", schema.GROUP_DEFAULTS)
    groups = (request.tenant.groups[group_id] for group_id in user.groups if group_id in request.tenant.groups)

    def render(group: Group) -> dict[str, Any]:
        return {"@odata.type": "#microsoft.graph.group", **render_group(group, names)}

    return page(request, sorted(groups, key=lambda group: group.sequence), render, "directoryObjects")


def _in_sequence(users: Iterable[User]) -> list[User]:
    return sorted(users, key=lambda user: user.sequence)


def _join(group: Group, user: User) -> None:
    group.members[user.id] = None
    user.groups[group.id] = None


def _check_joinable(group: Group) -> None:
    if group.props.get("onPremisesSyncEnabled"):
        raise synced_object()
    types = group.props.get("groupTypes") or []
    if "DynamicMembership" in types:
        raise bad_request("Cannot update members of a group with dynamic membership.")
    if group.props.get("mailEnabled") and "Unified" not in types:
        raise bad_request("Cannot Update a mail-enabled security groups and or distribution list.")


def _already() -> Exception:
    return bad_request(
        "One or more added object references already exist for the following modified properties: 'members'."
    )
