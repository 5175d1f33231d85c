"""Copies the subset of the reference facts the simulator needs into its package.

    python simulator/tools/copy_facts.py <reference folder>

The folder holds `cmdlets/<module>.json` (parameter sets) and `graph/{v1.0,permissions}.json` (types; permissions per
path and method). The output is sorted, so a second run on the same facts changes nothing."""

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "src" / "ucmesh_simulator" / "facts"

TYPES = ("user", "group", "subscribedSku", "organization", "application", "keyCredential", "passwordCredential")
BASES = ("directoryObject", "entity")
PATHS = (
    "/users", "/users/{id}", "/users/{id}/manager", "/users/{id}/memberof", "/users/{id}/transitivememberof",
    "/users/{id}/assignlicense", "/users/{id}/licensedetails", "/users/{id}/revokesigninsessions",
    "/groups", "/groups/{id}", "/groups/{id}/members", "/groups/{id}/members/{id}", "/groups/{id}/transitivemembers",
    "/subscribedskus", "/subscribedskus/{id}", "/organization", "/organization/{id}", "/domains", "/domains/{id}",
    "/applications", "/applications/{id}", "/applications/{id}/addkey", "/applications/{id}/removekey",
    "/directory/deleteditems/{id}/restore",
)  # fmt: skip
# Calls the permission data files under another spelling or leaves out; from the permission tables of the API pages.
SUPPLEMENT = {
    "/groups/{id}/members": {"POST": ["GroupMember.ReadWrite.All", "Directory.ReadWrite.All", "Group.ReadWrite.All"]},
    "/users/{id}/memberof": {"GET": ["User.Read.All", "User.ReadWrite.All", "GroupMember.Read.All", "Group.Read.All"]},
    "/directory/deleteditems": {
        "GET": ["User.Read.All", "Directory.Read.All", "Directory.ReadWrite.All", "User.ReadWrite.All"]
    },
    "/directory/deleteditems/{id}": {"DELETE": ["User.DeleteRestore.All", "User.ReadWrite.All"]},
    "/directoryobjects/{id}": {"GET": ["Directory.Read.All", "Directory.ReadWrite.All"]},
}

TEAMS = (
    "Connect-MicrosoftTeams", "Disconnect-MicrosoftTeams", "Get-CsTenant", "Get-CsOnlineUser",
    "Get-CsPhoneNumberAssignment", "Set-CsPhoneNumberAssignment", "Remove-CsPhoneNumberAssignment",
    "Get-CsUserPolicyAssignment",
)  # fmt: skip
POLICY_NOUNS = (
    "TeamsCallingPolicy", "TeamsMeetingPolicy", "TeamsMessagingPolicy", "TenantDialPlan", "OnlineVoiceRoutingPolicy",
    "TeamsEmergencyCallingPolicy", "TeamsEmergencyCallRoutingPolicy", "CallingLineIdentity", "OnlineVoicemailPolicy",
    "TeamsAppSetupPolicy", "TeamsAppPermissionPolicy", "TeamsCallParkPolicy", "TeamsCallHoldPolicy",
    "TeamsChannelsPolicy", "TeamsIPPhonePolicy", "TeamsMobilityPolicy", "TeamsUpdateManagementPolicy",
    "TeamsVoiceApplicationsPolicy", "ExternalAccessPolicy", "TeamsEventsPolicy", "TeamsMeetingBroadcastPolicy",
    "TeamsSharedCallingRoutingPolicy", "TeamsSurvivableBranchAppliancePolicy", "DialoutPolicy", "OnlineDialOutPolicy",
)  # fmt: skip
EXCHANGE = (
    "Connect-ExchangeOnline", "Disconnect-ExchangeOnline", "Get-ConnectionInformation", "Get-OrganizationConfig",
    "Get-EXOMailbox", "Get-Mailbox", "Get-EXOCasMailbox", "Get-CASMailbox", "Set-Mailbox", "Set-CASMailbox",
)  # fmt: skip


# What the stub modules and the simulated host call themselves: the releases the facts describe.
VERSIONS = {"MicrosoftTeams": "7.8.1", "ExchangeOnlineManagement": "3.10.1"}
# The pages still list these; a live module refuses them.
REMOVED = {"Get-CsTenant": {"ResultSize"}}


def main(source: Path) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    graph = _load(source / "graph" / "v1.0.json")
    types = {name: graph["types"][name]["properties"] for name in (*TYPES, *BASES)}
    for name in ("user", "group", "organization", "application"):
        types[name] = {**types["entity"], **types["directoryObject"], **types[name]}
    types["subscribedSku"] = {**types["entity"], **types["subscribedSku"]}
    _write("graph_types.json", {"source": graph["source"], "types": {name: types[name] for name in TYPES}})
    permissions = _load(source / "graph" / "permissions.json")
    paths = {path: permissions["paths"].get(path, {}) for path in PATHS}
    for path, methods in SUPPLEMENT.items():
        for method, names in methods.items():
            rule = paths.setdefault(path, {}).setdefault(method, {"least": names[:1], "any": []})
            rule["any"] = sorted({*rule["any"], *names})
    used = {name for methods in paths.values() for rule in methods.values() for name in rule["any"]}
    ids = {name: permissions["permissions"].get(name, {}).get("id", "") for name in sorted(used)}
    _write("permissions.json", {"source": permissions["source"], "paths": paths, "ids": ids})
    for module, wanted in (("MicrosoftTeams", _teams()), ("ExchangeOnlineManagement", EXCHANGE)):
        facts = _load(source / "cmdlets" / f"{module}.json")
        cmdlets = {name: _cmdlet(name, facts["cmdlets"][name]) for name in wanted if name in facts["cmdlets"]}
        missing = sorted(set(wanted) - set(cmdlets))
        if missing:
            sys.stderr.write(f"{module}: not in the facts: {', '.join(missing)}\n")
        version = VERSIONS[module]
        content = {"source": facts["source"], "module": module, "version": version, "cmdlets": cmdlets}
        _write(f"{module}.json", content)


def _cmdlet(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Parameter sets without what a page only mentions as gone (`X (Removed from version …)`) or a live module
    refuses."""
    refused = REMOVED.get(name, set())
    sets = {
        key: [one for one in listed if one["name"].isalnum() and one["name"] not in refused]
        for key, listed in facts["sets"].items()
    }
    known = {one["name"] for listed in sets.values() for one in listed}
    parameters = {key: value for key, value in facts["parameters"].items() if key in known}
    return {"default_set": facts["default_set"], "sets": sets, "parameters": parameters}


def _teams() -> tuple[str, ...]:
    policies = {f"{verb}-Cs{noun}" for noun in POLICY_NOUNS for verb in ("Grant", "Get")}
    return (*TEAMS, *sorted(policies - {"Get-CsDialoutPolicy", "Grant-CsOnlineDialOutPolicy"}))  # one verb each


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _write(name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    (TARGET / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
