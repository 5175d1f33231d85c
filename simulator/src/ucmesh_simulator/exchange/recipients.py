"""Finding a mailbox by whatever identity a caller uses, and saying that there is none. Owns the not-found texts."""

import time

import orjson

from ucmesh_simulator.objects import Mailbox, User
from ucmesh_simulator.powershell.call import CmdletCall
from ucmesh_simulator.powershell.errors import CmdletError, exchange_error, rest_client_error
from ucmesh_simulator.tenant import Tenant

SERVER = "SIM00A001DC01.SIMPR00A001.PROD.OUTLOOK.COM"
NOT_FOUND = "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException"


def mailbox_of(tenant: Tenant, user: User) -> Mailbox | None:
    """The mailbox Exchange shows today, with a conversion that is due applied."""
    mailbox = user.mailbox
    now = tenant.now()
    if mailbox is None or mailbox.visible_at > now or mailbox.disconnected_at is not None:
        return None
    if mailbox.type_pending is not None and mailbox.type_pending[0] <= now:
        mailbox.type_details, mailbox.type_pending = mailbox.type_pending[1], None
    return mailbox


def find_mailbox(tenant: Tenant, identity: str) -> tuple[User, Mailbox] | None:
    """By object id, UPN, address, mailbox guid, alias or display name (when only one has it)."""
    name = identity.lower().removeprefix("smtp:")
    user = tenant.find_user(name) or tenant.users.get(tenant.user_id_by_address.get(name, ""))
    if user is None and "@" not in name:
        found = [one for one in tenant.users.values() if one.mailbox is not None and name in _names(one)]
        user = found[0] if len(found) == 1 else None
    if user is None:
        return None
    mailbox = mailbox_of(tenant, user)
    return None if mailbox is None else (user, mailbox)


def _names(user: User) -> set[str]:
    guid = user.mailbox.guid if user.mailbox is not None else ""
    return {guid, str(user.props.get("mailNickname", "")).lower(), str(user.props.get("displayName", "")).lower()}


def object_not_found(call: CmdletCall, identity: str) -> CmdletError:
    text = f"The operation couldn't be performed because object '{identity}' couldn't be found on '{SERVER}'."
    if not call.cmdlet.lower().startswith("get-exo"):
        return refusal(call, "Ex6F9304", NOT_FOUND, text)
    body = {
        "error": {
            "code": "NotFound",
            "message": f"Error executing request. {text}",
            "details": [{"code": "Context", "target": "", "message": f"Ex6F9304|{NOT_FOUND}|{text}"}],
            "innererror": {
                "message": f"Error executing request. {text}",
                "type": "Microsoft.Exchange.Admin.OData.Core.ODataServiceException",
            },
        }
    }
    return rest_client_error(call.cmdlet, 404, orjson.dumps(body).decode())


def refusal(call: CmdletCall, code: str, exception: str, text: str) -> CmdletError:
    stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(call.tenant.now()))
    return exchange_error(call.cmdlet, code, exception, text, request_id=call.request_id, stamp=stamp)
