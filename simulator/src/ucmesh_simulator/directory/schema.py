"""Property names and types of the Graph entities. Owns the checks of $select and of written bodies against Microsoft's
metadata."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.directory.errors import bad_request

# What GET /users and GET /groups return without $select.
USER_DEFAULTS = (
    "businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation",
    "preferredLanguage", "surname", "userPrincipalName", "id",
)  # fmt: skip
GROUP_DEFAULTS = (
    "id", "deletedDateTime", "classification", "createdDateTime", "description", "displayName", "expirationDateTime",
    "groupTypes", "isAssignableToRole", "mail", "mailEnabled", "mailNickname", "membershipRule",
    "membershipRuleProcessingState", "onPremisesLastSyncDateTime", "onPremisesSyncEnabled", "preferredDataLocation",
    "preferredLanguage", "proxyAddresses", "renewedDateTime", "resourceBehaviorOptions",
    "resourceProvisioningOptions", "securityEnabled", "securityIdentifier", "theme", "visibility",
)  # fmt: skip
# Read-only for applications, or owned by another service.
USER_READ_ONLY = frozenset({
    "id", "assignedLicenses", "assignedPlans", "createdDateTime", "creationType", "deletedDateTime",
    "licenseAssignmentStates", "onPremisesDistinguishedName", "onPremisesDomainName", "onPremisesLastSyncDateTime",
    "onPremisesProvisioningErrors", "onPremisesSamAccountName", "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled", "onPremisesUserPrincipalName", "provisionedPlans", "proxyAddresses", "imAddresses",
    "signInActivity", "signInSessionsValidFromDateTime", "lastPasswordChangeDateTime",
    "refreshTokensValidFromDateTime", "securityIdentifier", "isManagementRestricted", "aboutMe", "birthday",
    "hireDate", "interests", "mySite", "pastProjects", "preferredName", "responsibilities", "schools", "skills",
})  # fmt: skip
LENGTHS_MAX = {
    "mailNickname": 64, "mobilePhone": 64, "companyName": 64, "displayName": 256, "employeeId": 16, "givenName": 64,
    "surname": 64, "jobTitle": 128, "department": 64, "officeLocation": 128, "city": 128, "country": 128,
    "userPrincipalName": 113,
}  # fmt: skip
_LISTS = {"[Edm.String]": str, "[Edm.Guid]": str}
_SCALARS: dict[str, type | tuple[type, ...]] = {
    "Edm.String": str, "Edm.Boolean": bool, "Edm.Int32": int, "Edm.Guid": str, "Edm.DateTimeOffset": str,
    "Edm.Binary": str,
}  # fmt: skip


@cache
def properties(entity: str) -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = facts.load("graph_types.json")["types"][entity]
    return found


def check_names(entity: str, names: Iterable[str]) -> None:
    """Raises 400 for a name the type does not have (case matters, as on the service)."""
    known = properties(entity)
    for name in names:
        if name not in known:
            raise bad_request(
                f"Parsing OData Select and Expand failed: Could not find a property named '{name}' on type "
                f"'microsoft.graph.{entity}'.",
                "BadRequest",
            )


def check_body(entity: str, body: Mapping[str, Any], *, read_only: frozenset[str] = frozenset()) -> None:
    """Raises 400 for unknown or read-only properties, wrong types and values past their length."""
    known = properties(entity)
    for name, value in body.items():
        if name.startswith("@odata.") or "@odata." in name:
            continue
        kind = known.get(name)
        if kind is None:
            raise bad_request(f"Invalid property '{name}'.")
        if name in read_only:
            raise bad_request(f"Property '{name}' is read-only and cannot be set.")
        if value is not None:
            _check_value(name, str(kind["type"]), value)


def _check_value(name: str, kind: str, value: object) -> None:
    item = _LISTS.get(kind)
    if item is not None:
        if not isinstance(value, list) or any(not isinstance(one, item) for one in value):
            raise bad_request(f"Property '{name}' in payload has a value that does not match schema.")
        return
    wanted = _SCALARS.get(kind)
    if wanted is None:
        if not isinstance(value, list if kind.startswith("[") else dict):
            raise bad_request(f"Property '{name}' in payload has a value that does not match schema.")
        return
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise bad_request(f"Property '{name}' in payload has a value that does not match schema.")
    limit = LENGTHS_MAX.get(name)
    if limit is not None and isinstance(value, str) and len(value) > limit:
        raise bad_request(f"Property '{name}' is invalid. The value is longer than {limit} characters.")
