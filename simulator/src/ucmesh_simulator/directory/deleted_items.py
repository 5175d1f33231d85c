"""/directory/deletedItems: list, restore, purge of users. Groups are deleted at once (see README)."""

from typing import Any

from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import conflict, not_found, unsupported_query
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.directory.query import page, selected
from ucmesh_simulator.directory.user_view import render_user
from ucmesh_simulator.objects import User
from ucmesh_simulator.user_lifecycle import expire_deleted, purge


def list_deleted(request: GraphRequest, cast: str) -> GraphReply:
    if cast.lower() != "microsoft.graph.user":
        raise unsupported_query()
    expire_deleted(request.tenant)
    names = selected(request, "user", ("id", *schema.USER_DEFAULTS, "deletedDateTime"))
    rows = sorted(request.tenant.deleted_users.values(), key=lambda user: user.sequence)
    return page(request, rows, lambda user: _render(request, user, names), "directoryObjects")


def _render(request: GraphRequest, user: User, names: tuple[str, ...]) -> dict[str, Any]:
    shown = render_user(request.tenant, user, names)
    if "userPrincipalName" in shown:  # the service mangles the name of a deleted user
        shown["userPrincipalName"] = f"{user.id.replace('-', '')}{user.upn}"
    return shown


def restore_user(request: GraphRequest, key: str) -> GraphReply:
    expire_deleted(request.tenant)
    user = request.tenant.deleted_users.get(key.lower())
    if user is None:
        raise not_found(key)
    if user.upn.lower() in request.tenant.user_id_by_upn:
        raise conflict("userPrincipalName")
    request.tenant.restore_user(user)
    shown: dict[str, Any] = {
        "@odata.context": request.context("directoryObjects/$entity"),
        "@odata.type": "#microsoft.graph.user",
    }
    return GraphReply(200, shown | render_user(request.tenant, user, schema.USER_DEFAULTS))


def purge_user(request: GraphRequest, key: str) -> GraphReply:
    user = request.tenant.deleted_users.get(key.lower())
    if user is None:
        raise not_found(key)
    purge(request.tenant, user)
    return GraphReply(204)
