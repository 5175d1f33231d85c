"""The table of simulated cmdlets: module and name → rule. One screen that lists what this face can do."""

from collections.abc import Callable

from ucmesh_simulator.exchange import client_access, mailboxes, organization
from ucmesh_simulator.powershell.call import CmdletCall, Output
from ucmesh_simulator.teams import numbers, policies, users
from ucmesh_simulator.teams.people import policy_types

Rule = Callable[[CmdletCall], Output]

TEAMS: dict[str, Rule] = {
    "Connect-MicrosoftTeams": users.connect,
    "Get-CsTenant": users.get_tenant,
    "Get-CsOnlineUser": users.get_online_user,
    "Get-CsPhoneNumberAssignment": numbers.get_assignment,
    "Set-CsPhoneNumberAssignment": numbers.set_assignment,
    "Remove-CsPhoneNumberAssignment": numbers.remove_assignment,
    "Get-CsUserPolicyAssignment": policies.get_user_policies,
}
for _kind, _entry in policy_types().items():
    TEAMS[_entry["grant"]] = policies.grant
    TEAMS[f"Get-Cs{_kind}"] = policies.get_policies

EXCHANGE: dict[str, Rule] = {
    "Connect-ExchangeOnline": organization.connect,
    "Get-ConnectionInformation": organization.connection_information,
    "Get-OrganizationConfig": organization.organization_config,
    "Get-Mailbox": mailboxes.get_mailbox,
    "Get-EXOMailbox": mailboxes.get_mailbox,
    "Set-Mailbox": mailboxes.set_mailbox,
    "Get-CASMailbox": client_access.get_cas_mailbox,
    "Get-EXOCasMailbox": client_access.get_cas_mailbox,
    "Set-CASMailbox": client_access.set_cas_mailbox,
}

BY_MODULE: dict[str, dict[str, tuple[str, Rule]]] = {
    module: {name.lower(): (name, rule) for name, rule in table.items()}
    for module, table in {"MicrosoftTeams": TEAMS, "ExchangeOnlineManagement": EXCHANGE}.items()
}
