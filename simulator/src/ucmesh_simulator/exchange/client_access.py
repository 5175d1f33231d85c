"""Get-CASMailbox, Get-EXOCasMailbox and Set-CASMailbox. Owns the protocol switches of a mailbox and their defaults."""

from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.exchange.mailboxes import render
from ucmesh_simulator.exchange.recipients import find_mailbox, mailbox_of, object_not_found
from ucmesh_simulator.objects import Mailbox, User
from ucmesh_simulator.powershell.call import COMMON, CmdletCall, Output
from ucmesh_simulator.tenant import Tenant

MINIMUM = (
    "ActiveSyncEnabled", "DisplayName", "ECPEnabled", "EmailAddresses", "EwsEnabled", "ExternalDirectoryObjectId",
    "Guid", "Identity", "ImapEnabled", "MAPIEnabled", "Name", "OWAEnabled", "OrganizationId", "PopEnabled",
    "PrimarySmtpAddress", "ServerLegacyDN",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "ActiveSyncEnabled": True,
    "ActiveSyncMailboxPolicy": "Default",
    "ECPEnabled": True,
    "EwsEnabled": None,
    "ImapEnabled": True,
    "MacOutlookEnabled": True,
    "MAPIEnabled": True,
    "OneWinNativeOutlookEnabled": True,
    "OutlookMobileEnabled": True,
    "OWAEnabled": True,
    "OWAforDevicesEnabled": True,
    "OwaMailboxPolicy": "OwaMailboxPolicy-Default",
    "PopEnabled": True,
    "PublicFolderClientAccess": False,
    "SmtpClientAuthenticationDisabled": None,
    "UniversalOutlookEnabled": True,
}


def get_cas_mailbox(call: CmdletCall) -> Output:
    identity = next(
        (text for name in ("Identity", "ExternalDirectoryObjectId", "PrimarySmtpAddress", "UserPrincipalName")
         if (text := call.text(name)) is not None),
        None,
    )  # fmt: skip
    if identity is not None:
        found = find_mailbox(call.tenant, identity)
        if found is None:
            raise object_not_found(call, identity)
        return [_chosen(call, _render(call.tenant, *found))]
    rows = []
    for user in call.tenant.users.values():
        mailbox = mailbox_of(call.tenant, user)
        if mailbox is not None:
            rows.append(_chosen(call, _render(call.tenant, user, mailbox)))
    return rows


def _render(tenant: Tenant, user: User, mailbox: Mailbox) -> dict[str, Any]:
    whole = render(tenant, user, mailbox)
    names = ("DisplayName", "EmailAddresses", "ExternalDirectoryObjectId", "Guid", "Identity", "Name", "OrganizationId",
             "PrimarySmtpAddress")  # fmt: skip
    return {**{name: whole[name] for name in names}, "ServerLegacyDN": None, **DEFAULTS, **mailbox.cas}


def _chosen(call: CmdletCall, row: dict[str, Any]) -> dict[str, Any]:
    if not call.cmdlet.lower().startswith("get-exo") or "all" in {one.lower() for one in call.list_of("PropertySets")}:
        return row
    wanted = {name.lower() for name in (*MINIMUM, *call.list_of("Properties"))}
    return {name: value for name, value in row.items() if name.lower() in wanted}


def set_cas_mailbox(call: CmdletCall) -> Output:
    identity = call.text("Identity") or ""
    found = find_mailbox(call.tenant, identity)
    if found is None:
        raise object_not_found(call, identity)
    user, mailbox = found
    spelling = {
        name.lower(): name
        for name in facts.load("ExchangeOnlineManagement.json")["cmdlets"]["Set-CASMailbox"]["parameters"]
    }
    held = {**DEFAULTS, **mailbox.cas}
    changes = {
        spelling.get(lowered, lowered): value
        for lowered, value in call.parameters.items()
        if lowered not in COMMON and lowered != "identity" and held.get(spelling.get(lowered, lowered)) != value
    }
    if not changes:
        shown = render(call.tenant, user, mailbox)["Identity"]
        call.warnings.append(f"The command completed successfully but no settings of '{shown}' have been modified.")
    elif not call.what_if:
        mailbox.cas.update(changes)
    return []
