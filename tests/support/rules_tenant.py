"""A Microsoft tenant in memory that answers the operations of the catalogue, for tests of the rules.

Owns just enough truth to see what plans leave behind: users, groups, licences, mailboxes, numbers, policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.plan_script import TENANT


class Refuses(Exception):  # noqa: N818
    """The tenant says no."""

    def __init__(self, code: str, *, outcome: str = "refused", retryable: bool = False) -> None:
        super().__init__(code)
        self.code, self.outcome, self.retryable = code, outcome, retryable


@dataclass
class TenantDouble:
    """`refuses` maps an operation to the code with which it is refused from now on."""

    tenant_id: str = TENANT
    holds: Mapping[str, Any] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    mailboxes: dict[str, dict[str, Any]] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    handled: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def add_user(self, upn: str, employee_id: str | None, **attributes: Any) -> str:
        user_id = f"22222222-0000-4000-8000-{len(self.users) + 1:012d}"
        self.users[user_id] = {
            "id": user_id,
            "userPrincipalName": upn,
            "employeeId": employee_id,
            "assignedLicenses": [],
            "manager_id": None,
            "group_ids": [],
            **attributes,
        }
        self.teams[user_id] = {"Identity": user_id, "FeatureTypes": ["Teams", "PhoneSystem"], "LineURI": None}
        self.mailboxes[user_id] = {"mailbox": {"RecipientTypeDetails": "UserMailbox"}, "cas": {}}
        return user_id

    def answer(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """outcome, changed, output, undo, error as a reply has them."""
        self.handled.append((operation, params))
        try:
            self._check(operation)
            changed, output, undo = getattr(self, "_" + operation.replace(".", "_").replace("-", "_"))(params)
        except Refuses as no:
            error = {"code": no.code, "message": f"{operation}: {no.code}", "retryable": no.retryable}
            return {"outcome": no.outcome, "changed": False, "output": {}, "undo": None, "error": error}
        return {"outcome": "succeeded", "changed": changed, "output": output, "undo": undo, "error": None}

    def _check(self, operation: str) -> None:
        if operation in self.refuses:
            raise Refuses(self.refuses[operation])

    def _tenant_observe(self, _params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        return False, dict(self.holds), None

    def _user_observe(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        mine = next((u for u in self.users.values() if u["employeeId"] == params["employee_id"]), None)
        others = [u["userPrincipalName"] for u in self.users.values() if u["employeeId"] != params["employee_id"]]
        return False, {"user": mine, "taken": [n for n in others if n in params["upn_candidates"]]}, None

    def _user_get(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        user = self._user(params["user"])
        return False, {"user": user, "manager_id": user["manager_id"], "group_ids": user["group_ids"]}, None

    def _user_ensure(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        upn = params["user_principal_name"]
        if any(u["userPrincipalName"] == upn for u in self.users.values()):
            raise Refuses("upn-taken")
        user_id = self.add_user(upn, params["employee_id"], **params["attributes"])
        undo = {"operation": "user.delete", "version": 1, "params": {"user_id": user_id}}
        return True, {"user_id": user_id, "user_principal_name": upn, "created": True}, undo

    def _user_delete(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self.users.pop(params["user_id"], None)
        return True, {}, None

    def _user_patch(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        user = self._user(params["user_id"])
        former = {name: user.get(name) for name in params["attributes"]}
        user.update(params["attributes"])
        undo = {"operation": "user.patch", "version": 1, "params": {"user_id": user["id"], "attributes": former}}
        return True, {"user_id": user["id"]}, undo

    def _user_set_manager(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self._user(params["user"])["manager_id"] = self._user(params["manager"])["id"]
        return True, {"former_manager_id": None}, None

    def _group_add_member(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self._user(params["user_id"])["group_ids"].append(params["group_id"])
        return True, {}, {"operation": "group.remove-member", "version": 1, "params": dict(params)}

    def _group_remove_member(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self._user(params["user_id"])["group_ids"].remove(params["group_id"])
        return True, {}, None

    def _licence_assign(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        user = self._user(params["user_id"])
        gone = {*params.get("remove", ()), *(each["skuId"] for each in params["add"])}
        kept = [each for each in user["assignedLicenses"] if each["skuId"] not in gone]
        user["assignedLicenses"] = kept + [dict(each) for each in params["add"]]
        back = {"user_id": user["id"], "add": [], "remove": [each["skuId"] for each in params["add"]]}
        return True, {}, {"operation": "licence.assign", "version": 1, "params": back}

    def _exchange_mailbox_get(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        return False, self.mailboxes[params["identity"]], None

    def _exchange_mailbox_configure(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self.mailboxes[params["identity"]]["mailbox"].update(params["settings"])
        return True, {}, None

    def _exchange_cas_mailbox_configure(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self.mailboxes[params["identity"]]["cas"].update(params["settings"])
        return True, {}, None

    def _teams_user_get(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        return False, {"user": self.teams[params["identity"]]}, None

    def _teams_number_assign(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        user = self.teams[params["identity"]]
        user.update(LineURI=f"tel:{params['telephone_number']}", EnterpriseVoiceEnabled=True)
        return True, {}, {"operation": "teams.number.unassign", "version": 1, "params": dict(params)}

    def _teams_number_unassign(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        self.teams[params["identity"]].update(LineURI=None, EnterpriseVoiceEnabled=False)
        return True, {}, None

    def _teams_policy_grant(self, params: Mapping[str, Any]) -> tuple[bool, Any, Any]:
        user = self.teams[params["identity"]]
        former = user.get(params["policy_type"])
        user[params["policy_type"]] = params["policy_name"]
        undo = {"operation": "teams.policy.grant", "version": 1, "params": {**params, "policy_name": former}}
        return True, {"former": former}, undo

    def _user(self, user_id: str) -> dict[str, Any]:
        if user_id not in self.users:
            raise Refuses("user-not-found")
        return self.users[user_id]
