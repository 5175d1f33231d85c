"""Operations of graph-adapter as a plan names them (contract: operation catalogue, version 1).

Owns names, parameters, permissions and the words shown to an admin. Refuses to know how Graph is called.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.desired import DesiredLicence
from orchestrator.domain.plan import Operation, ref
from orchestrator.domain.retry import Retry

UserRef = str | dict[str, str]
"""An object id, or a reference to the operation that creates the user."""

OBSERVE_TENANT = "tenant.observe"
READ = "User.Read.All"
WRITE = "User.ReadWrite.All"
MEMBERS = "GroupMember.ReadWrite.All"
LICENCES = "LicenseAssignment.ReadWrite.All"

CREATED_USER = ref("user", "user_id")


@lean_dataclass(frozen=True, slots=True)
class Account:
    """The person's user in the tenant; `upn` orders all commands of one person."""

    user: UserRef
    upn: str


def observe_user(employee_id: str, candidates: Iterable[str], *, subject: str) -> Operation:
    """Who has this employee id, and which of the names are taken by others?"""
    return Operation(
        key="observe",
        target="graph",
        name="user.observe",
        params={"employee_id": employee_id, "upn_candidates": list(candidates)},
        subject=subject,
        title=f"Look for {employee_id} in Entra ID",
        permission=READ,
    )


def ensure_user(upn: str, employee_id: str, attributes: Mapping[str, Any], retry: Retry) -> Operation:
    return Operation(
        key="user",
        target="graph",
        name="user.ensure",
        params={"user_principal_name": upn, "employee_id": employee_id, "attributes": dict(attributes)},
        subject=upn,
        title=f"Create {upn}",
        retry=retry,
        permission=WRITE,
        before="no user",
        after=upn,
    )


def patch_user(account: Account, changed: Mapping[str, Any], before: Mapping[str, Any], retry: Retry) -> Operation:
    return Operation(
        key="user",
        target="graph",
        name="user.patch",
        params={"user_id": account.user, "attributes": dict(changed)},
        subject=account.upn,
        title=f"Update {', '.join(changed)} of {account.upn}",
        retry=retry,
        permission=WRITE,
        before=_shown({name: before.get(name) for name in changed}),
        after=_shown(changed),
    )


def add_member(account: Account, group_id: str, name: str, retry: Retry) -> Operation:
    return Operation(
        key=f"group:{group_id}",
        target="graph",
        name="group.add-member",
        params={"group_id": group_id, "user_id": account.user},
        subject=account.upn,
        title=f"Add to group {name}",
        retry=retry,
        permission=MEMBERS,
        before="not a member",
        after=name,
    )


def remove_member(account: Account, group_id: str, name: str, retry: Retry) -> Operation:
    return Operation(
        key=f"group:{group_id}",
        target="graph",
        name="group.remove-member",
        params={"group_id": group_id, "user_id": account.user},
        subject=account.upn,
        title=f"Remove from group {name}",
        retry=retry,
        permission=MEMBERS,
        before=name,
        after="not a member",
    )


def assign_licences(account: Account, add: Iterable[DesiredLicence], remove: Iterable[str], retry: Retry) -> Operation:
    """Added and removed in one call: removing first would take a number away (microsoft.md 2.9)."""
    added, removed = tuple(add), tuple(remove)
    return Operation(
        key="licences",
        target="graph",
        name="licence.assign",
        params={
            "user_id": account.user,
            "add": [{"skuId": each.sku_id, "disabledPlans": sorted(each.disabled_plans)} for each in added],
            "remove": list(removed),
        },
        subject=account.upn,
        title=f"Assign {', '.join(each.part_number for each in added) or 'no licence'}",
        retry=retry,
        permission=LICENCES,
        before=f"{len(removed)} to remove" if removed else "not assigned",
        after=", ".join(each.part_number for each in added) or None,
    )


def set_manager(account: Account, manager: UserRef, employee_id: str, retry: Retry) -> Operation:
    return Operation(
        key="manager",
        target="graph",
        name="user.set-manager",
        params={"user": account.user, "manager": manager},
        subject=account.upn,
        title=f"Set manager {employee_id}",
        failure="continue",
        retry=retry,
        permission=WRITE,
        after=employee_id,
    )


def prove_user(account: Account, expected: Mapping[str, Any], retry: Retry) -> Operation:
    """Read back what Entra ID holds now; any difference fails the plan."""
    return Operation(
        key="verify-entra",
        target="graph",
        name="user.get",
        params={"user": account.user},
        subject=account.upn,
        title="Read back from Entra ID",
        retry=retry,
        expect={"user.id": account.user, **expected},
        permission=READ,
    )


def _shown(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {'unknown' if value is None else value}" for name, value in values.items())
