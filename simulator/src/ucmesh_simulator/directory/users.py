"""Users and their manager: the operations of the Graph face. Owns create, read, update, soft delete, list and
manager/$ref."""

from typing import Any

from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import bad_request, not_found
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.directory.query import filter_of, page, selected
from ucmesh_simulator.directory.user_rules import check_new_user, check_update
from ucmesh_simulator.directory.user_view import render_user
from ucmesh_simulator.directory.visibility import (
    SYNCED,
    index_props,
    indexed_users,
    readable_user,
    referable_user,
    spread_change,
)
from ucmesh_simulator.objects import Replica, User
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.user_lifecycle import remove_from_tenant

_FILTER_COMPUTED = ("id", "assignedLicenses", "assignedPlans", "createdDateTime", "mail", "proxyAddresses", "userType")


def create_user(request: GraphRequest) -> GraphReply:
    tenant = request.tenant
    body = request.object_body()
    check_new_user(tenant, body)
    user = new_user(tenant, body)
    shown: dict[str, Any] = {"@odata.context": request.context("users/$entity")}
    shown |= render_user(tenant, user, schema.USER_DEFAULTS)
    return GraphReply(201, shown, {"location": f"{request.origin}/v1.0/users/{user.id}"})


def new_user(tenant: Tenant, body: dict[str, Any], user_id: str | None = None) -> User:
    """Puts a user whose properties were checked into the store, on its way to every face."""
    now, knobs = tenant.now(), tenant.knobs
    props = _kept(body)
    known = {name: value for name, value in props.items() if name in SYNCED}
    user = User(
        id=user_id or tenant.new_id(),
        sequence=tenant.next_sequence(),
        props=props,
        created_at=now,
        visible_at=now + knobs.replica_lag_seconds,
        referable_at=now + knobs.reference_lag_seconds,
        indexed_at=now + knobs.index_lag_seconds,
        exchange=Replica(attributes=known),
        teams_view=Replica(attributes=dict(known)),
    )
    tenant.add_user(user)
    return user


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    """What is stored of a written body: no password, no annotations, the country in capitals."""
    props = {name: value for name, value in body.items() if name != "passwordProfile" and "@" not in name}
    if isinstance(props.get("usageLocation"), str):
        props["usageLocation"] = props["usageLocation"].upper()
    return props


def get_user(request: GraphRequest, key: str) -> GraphReply:
    names = selected(request, "user", schema.USER_DEFAULTS)
    expand = _expand(request)
    user = readable_user(request.tenant, key)
    chosen = f"users({request.query['$select']})" if request.query.get("$select") else "users"
    shown: dict[str, Any] = {"@odata.context": request.context(f"{chosen}/$entity")}
    shown |= render_user(request.tenant, user, names)
    if expand:
        shown["manager"] = _manager(request, user)
    return GraphReply(200, shown)


def patch_user(request: GraphRequest, key: str) -> GraphReply:
    body = request.object_body()
    user = referable_user(request.tenant, key)
    check_update(request, user, body)
    spread_change(request.tenant, user, _kept(body))
    return GraphReply(204)


def delete_user(request: GraphRequest, key: str) -> GraphReply:
    user = request.tenant.find_user(key)
    if user is None:
        raise not_found(key)
    remove_from_tenant(request.tenant, user)
    return GraphReply(204)


def list_users(request: GraphRequest) -> GraphReply:
    tenant = request.tenant
    names = selected(request, "user", schema.USER_DEFAULTS)
    wanted = filter_of(request, "user")
    expand = _expand(request)
    computed = tuple(name for name in (wanted.names if wanted else ()) if name in _FILTER_COMPUTED)

    def matches(user: User) -> bool:
        if wanted is None:
            return True
        props = index_props(tenant, user)
        return wanted.matches({**props, **render_user(tenant, user, computed)} if computed else props)

    def render(user: User) -> dict[str, Any]:
        shown = render_user(tenant, user, names, index_props(tenant, user))
        if expand:
            shown["manager"] = _manager(request, user)
        return shown

    rows = (user for user in indexed_users(tenant, wanted.keys if wanted else {}) if matches(user))
    chosen = f"users({request.query['$select']})" if request.query.get("$select") else "users"
    return page(request, rows, render, chosen)


def _expand(request: GraphRequest) -> bool:
    text = request.query.get("$expand")
    if not text:
        return False
    if text.split("(")[0].strip() != "manager":
        raise bad_request(
            f"Parsing OData Select and Expand failed: Could not find a property named '{text}' on type "
            "'microsoft.graph.user'.",
            "BadRequest",
        )
    if request.advanced:
        raise bad_request("$expand is not supported with advanced queries.", "Request_UnsupportedQuery")
    return True


def _manager(request: GraphRequest, user: User) -> dict[str, Any] | None:
    manager = request.tenant.users.get(user.manager or "")
    if manager is None:
        return None
    shown: dict[str, Any] = {"@odata.type": "#microsoft.graph.user"}
    return shown | render_user(request.tenant, manager, schema.USER_DEFAULTS)


# -- manager ----------------------------------------------------------------------------------------------------------
def get_manager(request: GraphRequest, key: str) -> GraphReply:
    names = selected(request, "user", schema.USER_DEFAULTS)
    user = readable_user(request.tenant, key)
    manager = request.tenant.users.get(user.manager or "")
    if manager is None:
        raise not_found("manager")
    shown: dict[str, Any] = {
        "@odata.context": request.context("directoryObjects/$entity"),
        "@odata.type": "#microsoft.graph.user",
    }
    return GraphReply(200, shown | render_user(request.tenant, manager, names))


def put_manager(request: GraphRequest, key: str) -> GraphReply:
    manager_key = reference_of(request.object_body())
    user = referable_user(request.tenant, key)
    manager = referable_user(request.tenant, manager_key)
    _unlink(request.tenant, user)
    user.manager = manager.id
    manager.reports[user.id] = None
    return GraphReply(204)


def delete_manager(request: GraphRequest, key: str) -> GraphReply:
    user = referable_user(request.tenant, key)
    if user.manager is None:
        raise not_found("manager")
    _unlink(request.tenant, user)
    return GraphReply(204)


def _unlink(tenant: Tenant, user: User) -> None:
    former = tenant.users.get(user.manager or "")
    if former is not None:
        former.reports.pop(user.id, None)
    user.manager = None


def reference_of(body: dict[str, Any]) -> str:
    """The object id (or UPN) at the end of an `@odata.id`; raises 400."""
    target = body.get("@odata.id")
    if not isinstance(target, str) or not target.strip():
        raise bad_request("Invalid reference: the '@odata.id' property is missing.", "BadRequest")
    last = target.rstrip("/").rsplit("/", 1)[-1]
    if "(" in last and last.endswith(")"):  # directoryObjects('id')
        last = last[last.index("(") + 1 : -1].strip("'")
    return last


def revoke_sessions(request: GraphRequest, key: str) -> GraphReply:
    """Documented as 204; the service answers 200 with a boolean, and so does this."""
    referable_user(request.tenant, key)
    return GraphReply(200, {"@odata.context": request.context("Edm.Boolean"), "value": True})
