"""Get-Mailbox, Get-EXOMailbox and Set-Mailbox. Owns the mailbox's properties and their defaults."""

import re
from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.exchange.addresses import changed_addresses, primary_of
from ucmesh_simulator.exchange.recipients import find_mailbox, mailbox_of, object_not_found, refusal
from ucmesh_simulator.objects import Mailbox, User
from ucmesh_simulator.powershell.call import COMMON, CmdletCall, Output
from ucmesh_simulator.powershell.filters import FilterError, parse_filter
from ucmesh_simulator.tenant import Tenant

MINIMUM = (
    "Alias", "DisplayName", "DistinguishedName", "EmailAddresses", "ExchangeVersion", "ExternalDirectoryObjectId",
    "Guid", "Id", "Name", "OrganizationId", "PrimarySmtpAddress", "RecipientType", "RecipientTypeDetails",
    "UserPrincipalName",
)  # fmt: skip
PROPERTY_SETS = {
    "delivery": ("ForwardingAddress", "ForwardingSmtpAddress", "DeliverToMailboxAndForward", "GrantSendOnBehalfTo",
                 "MaxReceiveSize", "MaxSendSize", "MessageCopyForSendOnBehalfEnabled", "MessageCopyForSentAsEnabled"),
    "addresslist": ("AddressBookPolicy", "HiddenFromAddressListsEnabled"),
    "hold": ("LitigationHoldEnabled",),
    "custom": tuple(f"CustomAttribute{index}" for index in range(1, 16)),
    "quota": ("IssueWarningQuota", "ProhibitSendQuota", "ProhibitSendReceiveQuota"),
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "AccountDisabled": False,
    "AddressBookPolicy": None,
    "AuditEnabled": True,
    "DeliverToMailboxAndForward": False,
    "ForwardingAddress": None,
    "ForwardingSmtpAddress": None,
    "GrantSendOnBehalfTo": [],
    "HiddenFromAddressListsEnabled": False,
    "IssueWarningQuota": "98 GB (105,226,698,752 bytes)",
    "Languages": [],
    "LitigationHoldEnabled": False,
    "MailTip": None,
    "MaxReceiveSize": "36 MB (37,748,736 bytes)",
    "MaxSendSize": "35 MB (36,700,160 bytes)",
    "MessageCopyForSendOnBehalfEnabled": False,
    "MessageCopyForSentAsEnabled": False,
    "ProhibitSendQuota": "99 GB (106,300,440,576 bytes)",
    "ProhibitSendReceiveQuota": "100 GB (107,374,182,400 bytes)",
    "RecipientLimits": 500,
    "RetentionPolicy": "Default MRM Policy",
    "RoleAssignmentPolicy": "Default Role Assignment Policy",
    "SharingPolicy": "Default Sharing Policy",
    "SimpleDisplayName": "",
    "SingleItemRecoveryEnabled": True,
} | {f"CustomAttribute{index}": "" for index in range(1, 16)}
SIZES = frozenset(
    {"IssueWarningQuota", "MaxReceiveSize", "MaxSendSize", "ProhibitSendQuota", "ProhibitSendReceiveQuota"}
)
TYPES = {"regular": "UserMailbox", "shared": "SharedMailbox", "room": "RoomMailbox", "equipment": "EquipmentMailbox"}
# Owned by the on-premises directory for synced users.
MASTERED = frozenset(
    {"EmailAddresses", "HiddenFromAddressListsEnabled", "DisplayName", "Alias", "WindowsEmailAddress"}
) | {f"CustomAttribute{index}" for index in range(1, 16)}
_CONTAINER = "OU=Microsoft Exchange Hosted Organizations,DC=SIMPR00A001,DC=PROD,DC=OUTLOOK,DC=COM"
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB)?\b", re.IGNORECASE)
_POWERS = {"B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4}


def get_mailbox(call: CmdletCall) -> Output:
    """One by identity, or a list; Get-EXOMailbox answers the minimum set plus what was asked for."""
    identity = next(
        (text for name in ("Identity", "ExternalDirectoryObjectId", "PrimarySmtpAddress", "UserPrincipalName", "Anr")
         if (text := call.text(name)) is not None),
        None,
    )  # fmt: skip
    if identity is not None:
        found = find_mailbox(call.tenant, identity)
        if found is None:
            raise object_not_found(call, identity)
        return [_chosen(call, render(call.tenant, *found))]
    rows = []
    for user in call.tenant.users.values():
        mailbox = mailbox_of(call.tenant, user)
        if mailbox is not None:
            rows.append(render(call.tenant, user, mailbox))
    return [_chosen(call, row) for row in _narrowed(call, rows)]


def _narrowed(call: CmdletCall, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = {kind.lower() for kind in call.list_of("RecipientTypeDetails")}
    if kinds:
        rows = [row for row in rows if row["RecipientTypeDetails"].lower() in kinds]
    text = call.text("Filter")
    if text is not None:
        try:
            matches = parse_filter(text)
        except FilterError as wrong:
            raise refusal(call, "Ex12345", "System.ArgumentException", f"Invalid filter syntax: {wrong}") from wrong
        rows = [row for row in rows if matches({name.lower(): value for name, value in row.items()})]
    size = call.text("ResultSize") or "1000"
    return rows if size.lower() == "unlimited" else rows[: int(size) if size.isdecimal() else 1000]


def _chosen(call: CmdletCall, row: dict[str, Any]) -> dict[str, Any]:
    if not call.cmdlet.lower().startswith("get-exo"):
        return row
    sets = {name.lower() for name in call.list_of("PropertySets")}
    if "all" in sets or "*" in call.list_of("Properties"):
        return row
    wanted = {name.lower() for name in call.list_of("Properties")}
    if not sets or "minimum" in sets:
        wanted |= {name.lower() for name in MINIMUM}
    for name in sets & PROPERTY_SETS.keys():
        wanted |= {one.lower() for one in PROPERTY_SETS[name]}
    return {name: value for name, value in row.items() if name.lower() in wanted}


def render(tenant: Tenant, user: User, mailbox: Mailbox) -> dict[str, Any]:
    known = user.exchange.read(tenant.now())
    alias = str(known.get("mailNickname", ""))
    name = str(known.get("displayName", alias))
    root = tenant.initial_domain
    return {
        "Alias": alias,
        "DisplayName": name,
        "DistinguishedName": f"CN={name},OU={root},{_CONTAINER}",
        "ExchangeVersion": "0.20 (15.0.0.0)",
        "ExternalDirectoryObjectId": user.id,
        "Guid": mailbox.guid,
        "Id": name,
        "Identity": name,
        "Name": alias,
        "OrganizationId": f"SIMPR00A001.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/{root}",
        "PrimarySmtpAddress": mailbox.primary_smtp_address,
        "RecipientType": "UserMailbox",
        "RecipientTypeDetails": mailbox.type_details,
        "UserPrincipalName": known.get("userPrincipalName", user.upn),
        "UsageLocation": known.get("usageLocation"),
        "IsDirSynced": bool(user.props.get("onPremisesSyncEnabled")),
        **DEFAULTS,
        **mailbox.settings,
    }


# -- writing -----------------------------------------------------------------------------------------------------------
def set_mailbox(call: CmdletCall) -> Output:
    """Silent on success; a warning when nothing differs."""
    identity = call.text("Identity") or ""
    found = find_mailbox(call.tenant, identity)
    if found is None:
        raise object_not_found(call, identity)
    user, mailbox = found
    changes = _changes(call, user, mailbox)
    kind = call.text("Type")
    converted = kind is not None and TYPES.get(kind.lower()) not in {None, mailbox.type_details}
    if not changes and not converted:
        shown = render(call.tenant, user, mailbox)["Identity"]
        call.warnings.append(f"The command completed successfully but no settings of '{shown}' have been modified.")
        return []
    if call.what_if:
        return []
    if "EmailAddresses" in changes:
        _register(call.tenant, user, mailbox, changes["EmailAddresses"])
    mailbox.settings.update(changes)
    if converted and kind is not None:
        mailbox.type_pending = (call.tenant.now() + call.tenant.knobs.mailbox_conversion_seconds, TYPES[kind.lower()])
    return []


def _changes(call: CmdletCall, user: User, mailbox: Mailbox) -> dict[str, Any]:
    spelling = {
        name.lower(): name
        for name in facts.load("ExchangeOnlineManagement.json")["cmdlets"]["Set-Mailbox"]["parameters"]
    }
    held = {**DEFAULTS, **mailbox.settings}
    changes: dict[str, Any] = {}
    for lowered, value in call.parameters.items():
        if lowered in COMMON or lowered in {"identity", "type", "force"}:
            continue
        name = spelling.get(lowered, lowered)
        wanted = _value(call, user, mailbox, name, value)
        target = "EmailAddresses" if name == "WindowsEmailAddress" else name
        if wanted != held.get(target):
            changes[target] = wanted
    if user.props.get("onPremisesSyncEnabled") and (refused := sorted(MASTERED & changes.keys())):
        raise refusal(
            call,
            "Ex0E1B2C",
            "Microsoft.Exchange.Management.RecipientTasks.RecipientTaskException",
            f'The operation on mailbox "{user.props.get("displayName")}" failed because it\'s out of the current '
            f"user's write scope. The action 'Set-Mailbox', '{refused[0]}', can't be performed on the object "
            f"'{user.props.get('displayName')}' because the object is being synchronized from your on-premises "
            "organization. This action should be performed on the object in your on-premises organization.",
        )
    return changes


def _value(call: CmdletCall, user: User, mailbox: Mailbox, name: str, value: Any) -> Any:
    if name in {"EmailAddresses", "WindowsEmailAddress"}:
        held = list(mailbox.settings.get("EmailAddresses", []))
        if name == "WindowsEmailAddress":  # the new primary; the former one stays as an alias
            return changed_addresses(call, user, held, {"Add": [f"SMTP:{value}"]})
        return changed_addresses(call, user, held, [value] if isinstance(value, str) else value)
    if name == "ForwardingAddress" and value not in {None, ""}:
        target = find_mailbox(call.tenant, str(value))
        if target is None:
            raise object_not_found(call, str(value))
        return str(render(call.tenant, *target)["Identity"])
    if name == "ForwardingSmtpAddress" and value not in {None, ""}:
        return f"smtp:{str(value).removeprefix('smtp:')}"
    if name in SIZES:
        return shown_size(value)
    if isinstance(value, dict):
        return _multi(mailbox.settings.get(name, DEFAULTS.get(name)) or [], value)
    return value


def _multi(held: list[Any], change: dict[str, Any]) -> list[Any]:
    """`@{Add=…; Remove=…}` on a list."""
    lowered = {key.lower(): one if isinstance(one, list) else [one] for key, one in change.items()}
    kept = [one for one in held if one not in lowered.get("remove", [])]
    return kept + [one for one in lowered.get("add", []) if one not in kept]


def shown_size(value: Any) -> str:
    """`49.5GB` as Exchange answers it: `49.5 GB (53,150,220,288 bytes)`; `Unlimited` stays."""
    match = _SIZE.match(str(value))
    if match is None:
        return str(value)
    amount, unit = float(match[1]), (match[2] or "B").upper()
    total = int(amount * 1024 ** _POWERS[unit])
    return f"{amount:g} {unit} ({total:,} bytes)"


def _register(tenant: Tenant, user: User, mailbox: Mailbox, addresses: list[str]) -> None:
    for address in [one for one, holder in tenant.user_id_by_address.items() if holder == user.id]:
        del tenant.user_id_by_address[address]
    for address in addresses:
        tenant.user_id_by_address[address.split(":", 1)[-1].lower()] = user.id
    mailbox.primary_smtp_address = primary_of(addresses) or mailbox.primary_smtp_address
