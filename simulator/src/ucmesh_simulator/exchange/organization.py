"""Connect-ExchangeOnline, Get-ConnectionInformation (its server half) and Get-OrganizationConfig. Read only."""

from ucmesh_simulator.clock import iso
from ucmesh_simulator.powershell.call import CmdletCall, Output


def connect(call: CmdletCall) -> Output:
    """What the host needs to describe the connection later; the real cmdlet returns nothing."""
    return [{"TenantID": call.tenant.id, "Organization": call.tenant.initial_domain}]


def connection_information(call: CmdletCall) -> Output:
    """The tenant the token speaks for; the host adds its own connection's fields."""
    return [
        {
            "TenantID": call.tenant.id,
            "Organization": call.tenant.initial_domain,
            "AppId": call.caller.client_id,
            "TokenExpiryTimeUTC": iso(call.caller.expires_at),
        }
    ]


def organization_config(call: CmdletCall) -> Output:
    tenant = call.tenant
    return [
        {
            "Name": tenant.initial_domain,
            "DisplayName": tenant.display_name,
            "Identity": tenant.initial_domain,
            "Guid": tenant.id,
            "OrganizationId": tenant.initial_domain,
            "IsDehydrated": False,
            "DelayedDelicensingEnabled": False,
            "DefaultMailboxRegion": "EUR",
        }
    ]
