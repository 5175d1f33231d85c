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
    "Get-CsUserPolicyAssignment", "Get-CsOnlineLisLocation",
)  # fmt: skip
POLICY_NOUNS = (
    "TeamsCallingPolicy", "TeamsMeetingPolicy", "TeamsMessagingPolicy", "TenantDialPlan", "OnlineVoiceRoutingPolicy",
    "TeamsEmergencyCallingPolicy", "TeamsEmergencyCallRoutingPolicy", "CallingLineIdentity", "OnlineVoicemailPolicy",
    "TeamsAppSetupPolicy", "TeamsAppPermissionPolicy", "TeamsCallParkPolicy", "TeamsCallHoldPolicy",
    "TeamsChannelsPolicy", "TeamsIPPhonePolicy", "TeamsMobilityPolicy", "TeamsUpdateManagementPolicy",
    "TeamsVoiceApplicationsPolicy", "ExternalAccessPolicy", "TeamsEventsPolicy", "TeamsMeetingBroadcastPolicy",
)  # fmt: skip
EXCHANGE = (
    "Connect-ExchangeOnline", "Disconnect-ExchangeOnline", "Get-ConnectionInformation", "Get-OrganizationConfig",
    "Get-EXOMailbox", "Get-Mailbox", "Get-EXOCasMailbox", "Get-CASMailbox", "Set-Mailbox", "Set-CASMailbox",
)  # fmt: skip


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
        cmdlets = {name: facts["cmdlets"][name] for name in wanted if name in facts["cmdlets"]}
        missing = sorted(set(wanted) - set(cmdlets))
        if missing:
            sys.stderr.write(f"{module}: not in the facts: {', '.join(missing)}\n")
        _write(f"{module}.json", {"source": facts["source"], "module": module, "cmdlets": cmdlets})


def _teams() -> tuple[str, ...]:
    policies = tuple(f"{verb}-Cs{noun}" for noun in POLICY_NOUNS for verb in ("Grant", "Get"))
    return TEAMS + policies


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _write(name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    (TARGET / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
