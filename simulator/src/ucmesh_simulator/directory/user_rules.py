"""What Graph demands of a user's properties. Owns the checks of create and update; writes nothing."""

import re
from typing import Any

from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import bad_request, conflict, denied, invalid_domain, synced_object
from ucmesh_simulator.directory.messages import GraphRequest
from ucmesh_simulator.objects import User
from ucmesh_simulator.tenant import Tenant

REQUIRED = ("accountEnabled", "displayName", "mailNickname", "userPrincipalName", "passwordProfile")
PASSWORD_LENGTH_MIN, PASSWORD_LENGTH_MAX = 8, 256
_LOCAL_PART = re.compile(r"^[A-Za-z0-9'._\-!#^~]+$")
_NICKNAME = re.compile(r"^[^@()\\\[\]\";:<>, ]+$")
_COUNTRY = re.compile(r"^[A-Z]{2}$")
# Permissions that allow a PATCH of some properties only.
NARROW: dict[str, frozenset[str]] = {
    "User.EnableDisableAccount.All": frozenset({"accountEnabled"}),
    "User-PasswordProfile.ReadWrite.All": frozenset({"passwordProfile"}),
    "User-Phone.ReadWrite.All": frozenset({"businessPhones", "mobilePhone"}),
    "User-Mail.ReadWrite.All": frozenset({"mail", "otherMails"}),
    "User.ManageIdentities.All": frozenset({"identities"}),
}


def check_new_user(tenant: Tenant, body: dict[str, Any]) -> None:
    """Raises GraphError 400 in the order the service finds things."""
    schema.check_body("user", body, read_only=schema.USER_READ_ONLY)
    for name in REQUIRED:
        if body.get(name) in {None, ""} if not isinstance(body.get(name), dict) else not body[name]:
            raise bad_request(f"A value is required for property '{name}' of resource 'User'.")
    check_values(tenant, body, None)
    if not isinstance(body["passwordProfile"].get("password"), str):
        raise bad_request("A value is required for property 'password' of resource 'User'.")


def check_values(tenant: Tenant, body: dict[str, Any], user: User | None) -> None:
    """The value rules shared by create and update (`user` None: create)."""
    if "userPrincipalName" in body:
        _check_upn(tenant, body["userPrincipalName"], user)
    nickname = body.get("mailNickname")
    if isinstance(nickname, str) and not _NICKNAME.match(nickname):
        raise bad_request("Property mailNickname is invalid.")
    if isinstance(body.get("businessPhones"), list) and len(body["businessPhones"]) > 1:
        raise bad_request("Property businessPhones can hold at most one value.")
    if "usageLocation" in body:
        location = body["usageLocation"]
        if location is None and user is not None and user.props.get("usageLocation"):
            raise bad_request("Property usageLocation is invalid.")
        if location is not None and not _COUNTRY.match(str(location).upper()):
            raise bad_request("Property usageLocation is invalid.")
    for name in ("displayName", "accountEnabled"):
        if user is not None and name in body and body[name] in {None, ""}:
            raise bad_request(f"Property {name} is invalid.")
    profile = body.get("passwordProfile")
    if isinstance(profile, dict) and isinstance(profile.get("password"), str):
        _check_password(profile["password"], str(body.get("userPrincipalName") or (user.upn if user else "")))


def _check_upn(tenant: Tenant, upn: object, user: User | None) -> None:
    local, at, domain = str(upn or "").partition("@")
    if not at or domain.lower() not in tenant.domains:
        raise invalid_domain()
    if not tenant.domains[domain.lower()] and user is None:
        raise invalid_domain()
    if not _LOCAL_PART.match(local) or local.endswith(".") or len(local) > 64:
        raise bad_request(
            "Property userPrincipalName is invalid.", details=[{"code": "InvalidValue", "target": "userPrincipalName"}]
        )
    holder = tenant.user_id_by_upn.get(str(upn).lower())
    if holder is not None and (user is None or holder != user.id):
        raise conflict("userPrincipalName")
    owner = tenant.user_id_by_address.get(str(upn).lower())
    if owner is not None and (user is None or owner != user.id):
        raise conflict("proxyAddresses")


def _check_password(password: str, upn: str) -> None:
    kinds = sum(bool(re.search(pattern, password)) for pattern in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9]"))
    name = upn.partition("@")[0].lower()
    weak = (
        kinds < 3
        or not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX
        or (name and name in password.lower())
    )
    if weak:
        raise bad_request(
            "The specified password does not comply with password complexity requirements. Please provide a "
            "different password."
        )


def check_update(request: GraphRequest, user: User, body: dict[str, Any]) -> None:
    """Narrow permissions, synced objects, then the values."""
    schema.check_body("user", body, read_only=schema.USER_READ_ONLY)
    held = request.caller.roles
    if not held & {"User.ReadWrite.All", "Directory.ReadWrite.All", "User.ReadWrite.CrossCloud"}:
        allowed = frozenset[str]().union(*(names for permission, names in NARROW.items() if permission in held))
        if not set(body) <= allowed:
            raise denied()
    if user.props.get("onPremisesSyncEnabled") and set(body) - {"usageLocation", "passwordProfile"}:
        raise synced_object()
    check_values(request.tenant, body, user)
