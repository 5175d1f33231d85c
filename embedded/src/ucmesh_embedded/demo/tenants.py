"""The simulated tenants as they are, by the simulator's admin API: the demo trusts nobody's word, not even ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

SECTIONS = "users,mailboxes,teams_users,numbers,requests"
WRITES = ("POST", "PATCH", "PUT", "DELETE")


@dataclass(frozen=True, slots=True)
class TenantState:
    """One tenant's truth: users by employee id, mailboxes and Teams users by user id, numbers by their holder's UPN."""

    users: Mapping[str, list[Mapping[str, Any]]]
    mailboxes: Mapping[str, Mapping[str, Any]]
    teams_users: Mapping[str, Mapping[str, Any]]
    numbers: Mapping[str, str]
    writes: int

    def objections(self, person: Mapping[str, Any]) -> list[str]:
        """What the tenant does not confirm of a person the mesh says something about."""
        found = self.users.get(person["employee_id"], [])
        if person["status"] != "provisioned":
            return []
        if len(found) != 1:
            return [f"{person['employee_id']} has {len(found)} users in Entra ID"]
        user, upn = found[0], person["user_principal_name"]
        wrong = []
        if user["userPrincipalName"].lower() != upn.lower():
            wrong.append(f"{upn} is {user['userPrincipalName']} in Entra ID")
        if missing := set(person["licences"]) - set(user["licences"]):
            wrong.append(f"{upn} lacks {', '.join(sorted(missing))}")
        if user["id"] not in self.mailboxes:
            wrong.append(f"{upn} has no mailbox")
        if user["id"] not in self.teams_users:
            wrong.append(f"{upn} is unknown to Teams")
        if person["number"] and self.numbers.get(upn.lower()) != person["number"]:
            wrong.append(f"{upn} has the number {self.numbers.get(upn.lower())}, not {person['number']}")
        return wrong

    def left_behind(self, person: Mapping[str, Any]) -> list[str]:
        """A person who was refused or undone must have left nothing."""
        if person["status"] in ("refused", "compensated") and self.users.get(person["employee_id"]):
            return [f"{person['employee_id']} was {person['status']} and still has a user"]
        return []


def read(admin_url: str, token: str, tenant_ids: Iterable[str]) -> dict[str, TenantState]:
    """Tenant id -> state."""
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=admin_url, headers=headers, timeout=30, trust_env=False) as http:
        answers = {
            tenant_id: http.get(f"/_sim/tenants/{tenant_id}/state", params={"section": SECTIONS, "limit": 100_000})
            for tenant_id in tenant_ids
        }
    return {tenant_id: _state(answer.raise_for_status().json()) for tenant_id, answer in answers.items()}


def _state(body: Mapping[str, Any]) -> TenantState:
    users: dict[str, list[Mapping[str, Any]]] = {}
    for user in body["users"]:
        users.setdefault(str(user.get("employeeId")), []).append(user)
    return TenantState(
        users=users,
        mailboxes={str(each["user_id"]): each for each in body["mailboxes"] if each["visible"]},
        teams_users={str(each["user_id"]): each for each in body["teams_users"] if each["visible"]},
        numbers={str(n["holder_upn"]).lower(): n["number"] for n in body["numbers"] if n["holder_upn"]},
        writes=writes(body["requests"]["counts"]),
    )


def writes(counts: Mapping[str, int]) -> int:
    """Requests that changed something: Graph writes and Set, Remove and Grant cmdlets that were carried out."""
    total = 0
    for name, count in counts.items():
        face, method, *rest = name.split()
        done = rest[-1].startswith("2") if rest else False
        if face == "graph" and method in WRITES and done:
            total += count
        if face == "powershell" and done and method.startswith(("Set-", "Remove-", "Grant-", "New-")):
            total += count
    return total
