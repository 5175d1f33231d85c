"""Get-CsOnlineUser, Get-CsTenant, Connect-MicrosoftTeams. Read only."""

from typing import Any

from ucmesh_simulator.clock import iso
from ucmesh_simulator.powershell.call import CmdletCall, Output
from ucmesh_simulator.powershell.errors import CmdletError, client_error, management_object_not_found
from ucmesh_simulator.powershell.filters import FilterError, parse_filter
from ucmesh_simulator.teams.people import ALWAYS, find_teams_user, listed_users, policy_types, render_teams_user

RESULTS_MAX = 20_000


def connect(call: CmdletCall) -> Output:
    tenant = call.tenant
    return [
        {
            "Account": call.caller.client_id,
            "Environment": "AzureCloud",
            "Tenant": tenant.id,
            "TenantId": tenant.id,
        }
    ]


def get_tenant(call: CmdletCall) -> Output:
    tenant = call.tenant
    return [
        {
            "TenantId": tenant.id,
            "DisplayName": tenant.display_name,
            "Domains": list(tenant.domains),
            "SipDomain": list(tenant.domains),
            "CountryLetterCode": tenant.country,
            "Country": None,
            "City": None,
            "State": None,
            "PreferredLanguage": "en",
            "TeamsUpgradeEffectiveMode": "TeamsOnly",
            "WhenCreated": iso(tenant.created_at),
            "LastSyncTimeStamp": iso(tenant.now()),
        }
    ]


def get_online_user(call: CmdletCall) -> Output:
    identity = call.text("Identity")
    if identity is not None:
        user = find_teams_user(call.tenant, identity)
        if user is None:
            raise management_object_not_found(call.cmdlet, identity)
        return [_trimmed(call, render_teams_user(call.tenant, user))]
    rows = [render_teams_user(call.tenant, user) for user in listed_users(call.tenant)]
    rows = _filtered(call, rows)
    size = call.number("ResultSize")
    rows.sort(key=lambda row: str(row["DisplayName"]))
    return [_trimmed(call, row) for row in rows[: RESULTS_MAX if size is None else size]]


def _filtered(call: CmdletCall, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    account_type = call.text("AccountType")
    if account_type is not None:
        rows = [row for row in rows if str(row["AccountType"]).lower() == account_type.lower()]
    text = call.text("Filter")
    if text is None:
        return rows
    try:
        matches = parse_filter(text)
    except FilterError as wrong:
        raise bad_filter(call.cmdlet, wrong) from wrong
    return [row for row in rows if matches(_flat(row))]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Policy objects compare by their name."""
    return {
        name.lower(): value["Name"] if isinstance(value, dict) and "Name" in value else value
        for name, value in row.items()
    }


def bad_filter(cmdlet: str, wrong: Exception) -> CmdletError:
    return client_error(cmdlet, f"[BadRequest] : The filter is not valid: {wrong}")


def _trimmed(call: CmdletCall, row: dict[str, Any]) -> dict[str, Any]:
    if call.flag("SkipUserPolicies"):
        row = {name: value for name, value in row.items() if name not in policy_types()}
    wanted = {name.lower() for name in call.list_of("Properties")}
    if not wanted:
        return row
    return {name: value for name, value in row.items() if name in ALWAYS or name.lower() in wanted}
