"""Who may call what: the roles of the token against Microsoft's permission data. Owns the token checks and the 401/403
answers."""

from functools import cache

from ucmesh_simulator import facts
from ucmesh_simulator.directory.errors import denied, invalid_token
from ucmesh_simulator.identity.signing import Caller
from ucmesh_simulator.identity.tokens import GRAPH, RESOURCES
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.world import World


def authenticate(world: World, authorization: str) -> tuple[Caller, Tenant]:
    """Raises 401 InvalidAuthenticationToken."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise invalid_token("Access token is empty.")
    caller = world.signer.read(token, RESOURCES)
    if caller is None:
        raise invalid_token("CompactToken parsing failed with error code: 80049217")
    if caller.resource != GRAPH:
        raise invalid_token("Access token validation failure. Invalid audience.")
    if caller.expires_at <= world.clock.identity_now():
        raise invalid_token("Lifetime validation failed, the token is expired.")
    tenant = world.tenants.get(caller.tenant_id)
    if tenant is None:
        raise invalid_token("Access token validation failure. The tenant does not exist.")
    return caller, tenant


@cache
def allowed(permission_path: str, method: str) -> frozenset[str]:
    rule = facts.load("permissions.json")["paths"].get(permission_path, {}).get(method)
    return frozenset(rule["any"]) if rule else frozenset()


def authorize(caller: Caller, permission_path: str | None, method: str) -> None:
    """Raises 403 Authorization_RequestDenied; None leaves the decision to the operation."""
    if permission_path is not None and not caller.roles & allowed(permission_path, method):
        raise denied()
