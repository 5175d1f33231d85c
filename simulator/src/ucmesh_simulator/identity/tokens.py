"""The client-credentials grant: decides whether an application gets a token and what is in it. Owns the order of
Entra's refusals; knows no HTTP beyond the form's fields."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.identity.assertion import verify_assertion
from ucmesh_simulator.identity.errors import TokenError, application_not_found, tenant_not_found
from ucmesh_simulator.objects import Application
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.world import World

GRAPH, TEAMS, EXCHANGE = "graph", "teams", "exchange"
RESOURCES = {
    "https://graph.microsoft.com": GRAPH,
    "00000003-0000-0000-c000-000000000000": GRAPH,
    "48ac35b8-9aa8-4d74-927d-1f4a14a0b239": TEAMS,
    "https://outlook.office365.com": EXCHANGE,
    "00000002-0000-0ff1-ce00-000000000000": EXCHANGE,
}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NO_TENANT = frozenset({"common", "consumers", "organizations"})


@dataclass(frozen=True, slots=True)
class Grant:
    token: str
    lifetime_seconds: int


def grant_token(world: World, tenant_name: str, form: Mapping[str, str], base_url: str) -> Grant:
    """Raises TokenError. `base_url` is the https origin the caller used; it is part of the accepted audiences."""
    tenant = _tenant(world, tenant_name)
    for name in ("grant_type", "client_id", "scope"):
        if not form.get(name):
            raise TokenError(900144, f"The request body must contain the following parameter: '{name}'.")
    if form["grant_type"] != "client_credentials":
        raise TokenError(70003, f"The app requested an unsupported grant type '{form['grant_type']}'.")
    resource, audience = _resource(form["scope"], form["client_id"])
    application = tenant.application_of_client(form["client_id"])
    if application is None:
        raise application_not_found(form["client_id"], tenant.display_name)
    _authenticate(world, tenant, application, form, base_url)
    if not application.enabled:
        raise TokenError(7000112, f"Application '{application.client_id}'({application.display_name}) is disabled.")
    return _token(world, tenant, application, resource, audience)


def _tenant(world: World, name: str) -> Tenant:
    if name.lower() in NO_TENANT:
        raise TokenError(
            9001023,
            "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations "
            "or tenant-specific endpoint.",
        )
    tenant = world.find(name)
    if tenant is None:
        raise tenant_not_found(name)
    return tenant


def _resource(scope: str, client_id: str) -> tuple[str, str]:
    scopes = scope.split()
    known = {f"{audience}/.default": audience for audience in RESOURCES}
    asked = {RESOURCES[known[one]] for one in scopes if one in known}
    if len(scopes) > 1 and len(asked) > 1:
        raise TokenError(
            28000,
            "Provided value for the input parameter scope is not valid because it contains more than one resource. "
            f"Scope {scope} is not valid.",
        )
    if len(scopes) != 1 or not scopes[0].endswith("/.default"):
        raise TokenError(
            70011,
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter "
            f"'scope' is not valid. The scope {scope} is not valid.",
        )
    if scopes[0] not in known:
        name = scopes[0].removesuffix("/.default")
        raise TokenError(
            500011, f"The resource principal named {name} was not found in the tenant. Application: {client_id}."
        )
    return RESOURCES[known[scopes[0]]], known[scopes[0]]


def _authenticate(
    world: World, tenant: Tenant, application: Application, form: Mapping[str, str], base_url: str
) -> None:
    assertion = form.get("client_assertion")
    if assertion:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenError(900144, "The request body must contain the following parameter: 'client_assertion_type'.")
        names = [tenant.id, *tenant.domains]
        audiences = {f"{base_url}/{name}/oauth2/v2.0/token" for name in names} | {
            f"{base_url}/{name}/v2.0" for name in names
        }
        verify_assertion(
            assertion,
            client_id=application.client_id,
            keys=[*application.keys, *application.retired_keys],
            audiences=audiences,
            now=world.clock.identity_now(),
            world_now=world.clock.now(),
        )
        return
    secret = form.get("client_secret")
    if not secret:
        raise TokenError(
            7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        )
    _check_secret(application, secret, world.clock.identity_now())


def _check_secret(application: Application, value: str, now: float) -> None:
    digest = hashlib.sha256(value.encode()).digest()
    for secret in application.secrets:
        if hmac.compare_digest(secret.value_sha256, digest):
            if not secret.start <= now <= secret.end:
                raise TokenError(
                    7000222,
                    f"The provided client secret keys for app '{application.client_id}' are expired. Visit the Azure "
                    "portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using "
                    "certificate credentials for added security: https://aka.ms/certCreds.",
                )
            return
    raise TokenError(
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
        f"not the client secret ID, for a secret added to app '{application.client_id}'.",
    )


def _token(world: World, tenant: Tenant, application: Application, resource: str, audience: str) -> Grant:
    now = world.clock.identity_now()
    lifetime = int(tenant.knobs.token_lifetime_seconds)
    templates: dict[str, str] = facts.load("roles.json")["roles"]
    claims: dict[str, Any] = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant.id}/",
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + lifetime,
        "app_displayname": application.display_name,
        "appid": application.client_id,
        "appidacr": "2",
        "idp": f"https://sts.windows.net/{tenant.id}/",
        "idtyp": "app",
        "oid": application.service_principal_id,
        "sub": application.service_principal_id,
        "tid": tenant.id,
        "uti": world.new_request_id(),
        "ver": "1.0",
        "wids": sorted(templates[name] for name in application.directory_roles),
    }
    roles = {GRAPH: application.roles, EXCHANGE: application.exchange_roles}.get(resource, frozenset())
    if roles:
        claims["roles"] = sorted(roles)
    return Grant(world.signer.sign(claims), lifetime)
