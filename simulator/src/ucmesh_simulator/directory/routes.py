"""The table of Graph calls this face answers: method and path shape → operation, the permission path and the resource
units. Owns matching; unknown shapes are the caller's 400 or 405."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ucmesh_simulator.directory import applications, deleted_items, groups, licences, organization, users
from ucmesh_simulator.directory.errors import GraphError, unknown_segment
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest

Operation = Callable[..., GraphReply]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    shape: tuple[str, ...]  # lower-case; "*" is an id
    operation: Operation
    permission: str | None  # path of facts/permissions.json; None: the operation decides itself
    units: int = 1

    def run(self, request: GraphRequest, ids: list[str]) -> GraphReply:
        return self.operation(request, *ids)


ROUTES: tuple[Route, ...] = tuple(
    Route(method, tuple(path.strip("/").split("/")), operation, permission, units)
    for method, path, operation, permission, units in (
        ("GET", "/users", users.list_users, "/users", 2),
        ("POST", "/users", users.create_user, "/users", 1),
        ("GET", "/users/*", users.get_user, "/users/{id}", 1),
        ("PATCH", "/users/*", users.patch_user, "/users/{id}", 1),
        ("DELETE", "/users/*", users.delete_user, "/users/{id}", 1),
        ("GET", "/users/*/manager", users.get_manager, "/users/{id}/manager", 1),
        ("GET", "/users/*/manager/$ref", users.get_manager, "/users/{id}/manager", 1),
        ("PUT", "/users/*/manager/$ref", users.put_manager, "/users/{id}/manager", 1),
        ("DELETE", "/users/*/manager/$ref", users.delete_manager, "/users/{id}/manager", 1),
        ("GET", "/users/*/memberof", groups.member_of, "/users/{id}/memberof", 2),
        ("GET", "/users/*/transitivememberof", groups.member_of, "/users/{id}/transitivememberof", 2),
        ("POST", "/users/*/assignlicense", licences.assign_license, "/users/{id}/assignlicense", 1),
        ("GET", "/users/*/licensedetails", licences.license_details, "/users/{id}/licensedetails", 2),
        ("POST", "/users/*/revokesigninsessions", users.revoke_sessions, "/users/{id}/revokesigninsessions", 1),
        ("GET", "/groups", groups.list_groups, "/groups", 1),
        ("POST", "/groups", groups.create_group, "/groups", 1),
        ("GET", "/groups/*", groups.get_group, "/groups/{id}", 1),
        ("PATCH", "/groups/*", groups.patch_group, "/groups/{id}", 1),
        ("DELETE", "/groups/*", groups.delete_group, "/groups/{id}", 1),
        ("GET", "/groups/*/members", groups.list_members, "/groups/{id}/members", 3),
        ("GET", "/groups/*/transitivemembers", groups.list_members, "/groups/{id}/transitivemembers", 5),
        ("POST", "/groups/*/members/$ref", groups.add_member, "/groups/{id}/members", 1),
        ("DELETE", "/groups/*/members/*/$ref", groups.remove_member, "/groups/{id}/members/{id}", 1),
        ("GET", "/subscribedskus", licences.list_skus, "/subscribedskus", 3),
        ("GET", "/subscribedskus/*", licences.get_sku, "/subscribedskus/{id}", 3),
        ("GET", "/organization", organization.list_organization, "/organization", 1),
        ("GET", "/organization/*", organization.get_organization, "/organization/{id}", 1),
        ("GET", "/domains", organization.list_domains, "/domains", 1),
        ("GET", "/applications", applications.list_applications, "/applications", 2),
        ("GET", "/applications/*", applications.get_application, "/applications/{id}", 2),
        ("PATCH", "/applications/*", applications.patch_application, "/applications/{id}", 1),
        ("POST", "/applications/*/addkey", applications.add_key, None, 1),
        ("POST", "/applications/*/removekey", applications.remove_key, None, 1),
        ("GET", "/directory/deleteditems/*", deleted_items.list_deleted, "/directory/deleteditems", 1),
        (
            "POST",
            "/directory/deleteditems/*/restore",
            deleted_items.restore_user,
            "/directory/deleteditems/{id}/restore",
            1,
        ),
        ("DELETE", "/directory/deleteditems/*", deleted_items.purge_user, "/directory/deleteditems/{id}", 1),
    )
)

_BY_LENGTH: dict[int, dict[str, list[Route]]] = {}
for _route in ROUTES:
    _BY_LENGTH.setdefault(len(_route.shape), {}).setdefault(_route.shape[0], []).append(_route)

_ALTERNATE_KEY = re.compile(r"^(\w+)(\(.+\))$")


def match(method: str, segments: list[str]) -> tuple[Route, list[str]]:
    """The route and the ids in the path; raises 400 for an unknown path and 405 for a known one with another method."""
    pieces = _with_alternate_key(segments)
    lowered = [piece.lower() for piece in pieces]
    known = False
    for route in _BY_LENGTH.get(len(pieces), {}).get(lowered[0] if lowered else "", ()):
        if _fits(route.shape, lowered):
            known = True
            if route.method == method:
                return route, [piece for piece, wanted in zip(pieces, route.shape, strict=True) if wanted == "*"]
    if known:
        raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
    raise unknown_segment(pieces[-1] if pieces else "")


def _fits(shape: tuple[str, ...], pieces: list[str]) -> bool:
    for wanted, piece in zip(shape, pieces, strict=True):  # noqa: SIM110  a generator costs more than all it asks
        if wanted not in ("*", piece):
            return False
    return True


def _with_alternate_key(segments: list[str]) -> list[str]:
    """`applications(appId='x')/addKey` becomes `applications / (appId='x') / addKey`; `users('id')` loses its
    quotes."""
    if not segments or "(" not in segments[0]:
        return segments
    found = _ALTERNATE_KEY.match(segments[0])
    if found is None:
        return segments
    name, key = found.groups()
    return [name, key if "=" in key else key[1:-1].strip("'"), *segments[1:]]
