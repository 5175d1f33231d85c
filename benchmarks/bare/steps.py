"""The eight steps of a joiner in the bare pipeline: which come after which, and the Graph request of each.

The order is that of the mesh's plans: look for the person, create the user, then groups, licence and manager side by
side, then read back. One request a step.
"""

from collections.abc import Mapping
from typing import Any

from joining import office

TENANT = office.MESH_TENANT
OBSERVE, ENSURE, GROUP_1, GROUP_2, GROUP_3, LICENCE, MANAGER, READ_BACK = range(8)
COUNT = 8
READY_WHEN = {1: (ENSURE,), 2: (GROUP_1, GROUP_2, GROUP_3, LICENCE, MANAGER), 7: (READ_BACK,)}
"""Number of steps done: the steps that may begin then."""

_ATTRIBUTES = {"givenName": "given_name", "surname": "surname", "jobTitle": "job_title", "department": "department"}


def newly_ready(before: int, after: int) -> list[int]:
    """The steps that became ready when the number of done steps went from `before` to `after`."""
    return [step for count, steps in READY_WHEN.items() if before < count <= after for step in steps]


def request(step: int, person: Mapping[str, Any], user_id: str | None) -> dict[str, Any]:
    """Method, url and body as an item of `$batch` has them, without its id."""
    if step == OBSERVE:
        return {"method": "GET", "url": f"/users?$filter=employeeId eq '{person['employee_id']}'"}
    if step == ENSURE:
        return {"method": "POST", "url": "/users", "body": _user(person)}
    body: dict[str, Any]
    if step == LICENCE:
        body = {"addLicenses": [{"skuId": office.SKU_ID, "disabledPlans": []}], "removeLicenses": []}
        return {"method": "POST", "url": f"/users/{user_id}/assignLicense", "body": body}
    if step == MANAGER:
        body = {"@odata.id": f"https://graph.microsoft.com/v1.0/users/{TENANT.manager_id}"}
        return {"method": "PUT", "url": f"/users/{user_id}/manager/$ref", "body": body}
    if step == READ_BACK:
        return {"method": "GET", "url": f"/users/{user_id}?$expand=manager($select=id)"}
    body = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{user_id}"}
    return {"method": "POST", "url": f"/groups/{TENANT.group_ids()[step - GROUP_1]}/members/$ref", "body": body}


def _user(person: Mapping[str, Any]) -> dict[str, Any]:
    facts = person["person"]
    name = f"{facts['given_name']}.{facts['surname']}".lower()
    return {
        **{graph_name: facts[fact] for graph_name, fact in _ATTRIBUTES.items()},
        "accountEnabled": True,
        "displayName": f"{facts['given_name']} {facts['surname']}",
        "mailNickname": name,
        "usageLocation": "CH",
        "userPrincipalName": f"{name}@{TENANT.domain}",
        "employeeId": person["employee_id"],
        "passwordProfile": {"forceChangePasswordNextSignIn": True, "password": "Xq7-pLd9.vRt2"},
    }
