"""Who may run cmdlets: audience, expiry, Entra directory roles, Exchange.ManageAsApp. Owns the refusals of a
connection."""

from functools import cache

from ucmesh_simulator import facts
from ucmesh_simulator.identity.signing import Caller
from ucmesh_simulator.identity.tokens import EXCHANGE, RESOURCES, TEAMS
from ucmesh_simulator.powershell.errors import (
    CmdletError,
    access_denied,
    expired_token,
    rest_client_error,
    teams_forbidden,
)
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.world import World

MODULES = {"MicrosoftTeams": TEAMS, "ExchangeOnlineManagement": EXCHANGE}


def authenticate(world: World, module: str, authorization: str) -> tuple[Caller, Tenant]:
    """Raises CmdletError 401 for a token that is missing, foreign, expired or for another resource."""
    caller = world.signer.read(authorization.partition(" ")[2].strip(), RESOURCES)
    tenant = world.tenants.get(caller.tenant_id) if caller is not None else None
    if caller is None or tenant is None or caller.resource != MODULES[module]:
        raise CmdletError("UnAuthorized", fqid="UnAuthorized", category="AuthenticationError", http=401, status=403)
    if caller.expires_at <= world.clock.identity_now():
        raise expired_token()
    return caller, tenant


@cache
def _templates(key: str) -> frozenset[str]:
    roles = facts.load("roles.json")
    return frozenset(roles["roles"][name] for name in roles[key])


def authorize(caller: Caller, module: str, cmdlet: str, request_id: str) -> None:
    """The directory roles of the token decide, as they do for the real modules."""
    reading = cmdlet.startswith(("Get-", "Connect-"))
    if module == "MicrosoftTeams":
        if caller.directory_roles & _templates("teams") or (
            reading and caller.directory_roles & _templates("teams_read_only")
        ):
            return
        raise (
            access_denied(cmdlet)
            if cmdlet in {"Connect-MicrosoftTeams", "Get-CsTenant"}
            else teams_forbidden(cmdlet, request_id)
        )
    if "Exchange.ManageAsApp" not in caller.roles:
        raise _not_allowed(cmdlet)
    if caller.directory_roles & _templates("exchange") or (
        reading and caller.directory_roles & _templates("exchange_read_only")
    ):
        return
    raise CmdletError(
        f"The role assigned to application {caller.client_id} isn't supported in this scenario. Please check online "
        "documentation for assigning correct Directory Roles to Azure AD Application for EXO App-Only "
        "Authentication.",
        fqid="The role assigned to application isn't supported in this scenario.",
        exception_type="System.SystemException",
        category="OperationStopped",
        http=403,
        status=403,
    )


def _not_allowed(cmdlet: str) -> CmdletError:
    text = f"User is not allowed to call {cmdlet}"
    if cmdlet.startswith("Get-EXO"):
        inner = '{"message":"' + text + '","type":"Microsoft.Exchange.Admin.OData.Core.ODataServiceException"}'
        return rest_client_error(
            cmdlet, 403, '{"error":{"code":"Unauthorized","message":"' + text + '","innererror":' + inner + "}}"
        )
    return CmdletError(
        "UnAuthorized", fqid="UnAuthorized", category="OperationStopped", details=text, http=401, status=403
    )
