"""Grant-Cs*, Get-Cs*Policy and Get-CsUserPolicyAssignment, for every policy type of the facts. Owns what a grant
without an identity does: it changes the tenant's default, as the real one does."""

import fnmatch
from typing import Any

from ucmesh_simulator.powershell.call import CmdletCall, Output
from ucmesh_simulator.powershell.errors import client_error, management_object_not_found
from ucmesh_simulator.teams.people import (
    find_teams_user,
    give,
    granted,
    group_policy,
    policy_types,
    render_teams_user,
)

TYPE_OF_CMDLET = {entry["grant"].lower(): kind for kind, entry in policy_types().items()}
_GET = {f"get-cs{kind.lower()}": kind for kind in policy_types()}


def grant(call: CmdletCall) -> Output:
    policy_type = TYPE_OF_CMDLET[call.cmdlet.lower()]
    name = call.text("PolicyName")
    identity, group = call.text("Identity"), call.text("Group")
    if group is not None:
        _grant_to_group(call, policy_type, name, group)
    elif identity is None:
        _grant_to_tenant(call, policy_type, name)
    else:
        user = find_teams_user(call.tenant, identity)
        if user is None:
            raise management_object_not_found(call.cmdlet, identity)
        give(call.tenant, user, policy_type, None if name is None else _grantable(call, policy_type, name))
        if call.flag("PassThru"):
            return [render_teams_user(call.tenant, user)]
    return []


def _grantable(call: CmdletCall, policy_type: str, name: str) -> str:
    """The policy's own spelling; a policy made a moment ago is not there yet, and the default is none that can be
    granted."""
    policy = call.tenant.policies.get(policy_type, {}).get(name.lower().removeprefix("tag:"))
    if policy is None or policy.grantable_at > call.tenant.now() or policy.name == "Global":
        raise client_error(
            call.cmdlet,
            f'Policy "{name}" is not a user policy. You can assign only a user policy to a specific user.',
        )
    return policy.name


def _grant_to_group(call: CmdletCall, policy_type: str, name: str | None, group_id: str) -> None:
    group = call.tenant.groups.get(group_id.lower())
    if group is None:
        raise client_error(call.cmdlet, f"[NotFound] : Group {group_id} was not found")
    if name is None:
        group.policies.pop(policy_type, None)
        return
    group.policies[policy_type] = (call.number("Rank") or 1, _grantable(call, policy_type, name))


def _grant_to_tenant(call: CmdletCall, policy_type: str, name: str | None) -> None:
    if name is None:
        call.tenant.global_policies.pop(policy_type, None)
    else:
        call.tenant.global_policies[policy_type] = _grantable(call, policy_type, name)


def get_policies(call: CmdletCall) -> Output:
    policy_type = _GET[call.cmdlet.lower()]
    identity = call.text("Identity")
    policies = call.tenant.policies.get(policy_type, {})
    if identity is not None:
        policy = policies.get(identity.lower().removeprefix("tag:"))
        if policy is None:
            raise management_object_not_found(call.cmdlet, identity)
        return [_render(policy.name)]
    pattern = (call.text("Filter") or "*").lower()
    return [row for row in (_render(policy.name) for policy in policies.values()) if _fits(row["Identity"], pattern)]


def _render(name: str) -> dict[str, Any]:
    return {"Identity": name if name == "Global" else f"Tag:{name}", "Description": None}


def _fits(identity: str, pattern: str) -> bool:
    """`tag:*` and `*x*`: a star matches anything, nothing else is special."""
    return fnmatch.fnmatchcase(identity.lower(), pattern)


def get_user_policies(call: CmdletCall) -> Output:
    """Only what is assigned: a missing type means the tenant's default."""
    identity = call.text("Identity") or ""
    user = find_teams_user(call.tenant, identity)
    if user is None:
        raise management_object_not_found(call.cmdlet, identity)
    wanted = call.text("PolicyType")
    rows: list[dict[str, Any]] = []
    for policy_type in policy_types():
        if wanted is not None and wanted.lower() != policy_type.lower():
            continue
        sources = []
        direct, group = granted(call.tenant, user, policy_type), group_policy(call.tenant, user, policy_type)
        if direct is not None:
            sources.append({"AssignmentType": "Direct", "PolicyName": direct, "Reference": None})
        if group is not None:
            sources.append({"AssignmentType": "Group", "PolicyName": group[0], "Reference": group[1]})
        if sources:
            rows.append({"PolicyType": policy_type, "PolicyName": sources[0]["PolicyName"], "PolicySource": sources})
    return rows
