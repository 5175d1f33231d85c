"""The token endpoint as MSAL and the certificate manager meet it, over real TLS."""

import base64
import json
import uuid
from typing import Any

import httpx
import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.simulated import (
    GRAPH_SCOPE,
    Simulator,
    Tenant,
    install,
    make_certificate,
    pem_of,
    pfx_of,
    private_pem,
    tenant_spec,
)

EXCHANGE_SCOPE = "https://outlook.office365.com/.default"
TEAMS_SCOPE = "48ac35b8-9aa8-4d74-927d-1f4a14a0b239/.default"


@pytest.fixture(scope="module")
def certificate() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    return make_certificate("ucmesh")


def tenant_with(simulator: Simulator, certificate: x509.Certificate) -> Tenant:
    spec = tenant_spec()
    spec["applications"][0]["certificates"] = [{"certificate": pem_of(certificate)}]
    return install(simulator, spec)


def client_of(tenant: Tenant, credential: Any) -> msal.ConfidentialClientApplication:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(tenant.simulator.ca_file)
    return msal.ConfidentialClientApplication(
        tenant.client_id,
        authority=f"{tenant.simulator.base_url}/{tenant.tenant_id}",
        client_credential=credential,
        http_client=session,
        instance_discovery=False,
    )


def ask(tenant: Tenant, **form: str) -> httpx.Response:
    url = f"{tenant.simulator.base_url}/{form.pop('at', tenant.tenant_id)}/oauth2/v2.0/token"
    body = {"grant_type": "client_credentials", "client_id": tenant.client_id, "scope": GRAPH_SCOPE, **form}
    return httpx.post(url, data=body, verify=tenant.simulator.context())


@pytest.mark.parametrize("form", ["thumbprint", "public-certificate", "pfx"])
def test_msal_gets_a_token_with_every_form_of_certificate(
    simulator: Simulator, certificate: tuple[rsa.RSAPrivateKey, x509.Certificate], form: str, tmp_path: Any
) -> None:
    key, public = certificate
    tenant = tenant_with(simulator, public)
    pfx = tmp_path / "app.pfx"
    pfx.write_bytes(pfx_of(key, public, "secret"))
    credential = {
        "thumbprint": {"private_key": private_pem(key), "thumbprint": public.fingerprint(hashes.SHA1()).hex()},
        "public-certificate": {"private_key": private_pem(key), "public_certificate": pem_of(public)},
        "pfx": {"private_key_pfx_path": str(pfx), "passphrase": "secret"},
    }[form]
    app = client_of(tenant, credential)

    first, second = app.acquire_token_for_client([GRAPH_SCOPE]), app.acquire_token_for_client([GRAPH_SCOPE])

    assert first["expires_in"] == 3599, first
    assert second["token_source"] == "cache"
    assert "User.ReadWrite.All" in claims_of(first["access_token"])["roles"]
    organization = httpx.get(
        f"{simulator.base_url}/v1.0/organization",
        headers={"authorization": f"Bearer {first['access_token']}"},
        verify=simulator.context(),
    )
    assert organization.status_code == 200


def test_msal_reads_the_error_of_an_unknown_certificate(
    tenant: Tenant, certificate: tuple[rsa.RSAPrivateKey, x509.Certificate]
) -> None:
    key, public = certificate
    app = client_of(tenant, {"private_key": private_pem(key), "public_certificate": pem_of(public)})

    refused = app.acquire_token_for_client([GRAPH_SCOPE])

    assert (refused["error"], refused["error_codes"]) == ("invalid_client", [700027])
    assert public.fingerprint(hashes.SHA256()).hex().upper() in refused["error_description"]


def test_an_expired_certificate_is_named_with_its_dates(simulator: Simulator) -> None:
    key, public = make_certificate("old", days=10, starts_days_ago=20)
    tenant = tenant_with(simulator, public)

    refused = client_of(
        tenant, {"private_key": private_pem(key), "public_certificate": pem_of(public)}
    ).acquire_token_for_client([GRAPH_SCOPE])

    assert refused["error_codes"] == [700027]
    assert "The key used is expired" in refused["error_description"]
    assert "Found key 'Start=" in refused["error_description"]


@pytest.mark.parametrize("scope", [GRAPH_SCOPE, EXCHANGE_SCOPE, TEAMS_SCOPE])
def test_each_resource_has_its_own_audience_and_roles(tenant: Tenant, scope: str) -> None:
    claims = claims_of(tenant.token(scope))

    assert claims["aud"] == scope.removesuffix("/.default")
    assert claims["tid"] == tenant.tenant_id
    assert len(claims["wids"]) == 2
    expected = {GRAPH_SCOPE: "User.ReadWrite.All", EXCHANGE_SCOPE: "Exchange.ManageAsApp"}.get(scope)
    assert (expected in claims["roles"]) if expected else "roles" not in claims


def test_a_token_for_another_resource_is_refused_by_graph(tenant: Tenant) -> None:
    answer = httpx.get(
        f"{tenant.simulator.base_url}/v1.0/organization",
        headers={"authorization": f"Bearer {tenant.token(EXCHANGE_SCOPE)}"},
        verify=tenant.simulator.context(),
    )

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"


@pytest.mark.parametrize(
    ("form", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({}, 400, "invalid_request", 7000218),
        ({"client_secret": "x", "scope": "https://graph.microsoft.com/User.Read"}, 400, "invalid_scope", 70011),
        ({"client_secret": "x", "scope": f"{GRAPH_SCOPE} {EXCHANGE_SCOPE}"}, 400, "invalid_request", 28000),
        ({"client_secret": "x", "scope": "https://nothing.example/.default"}, 400, "invalid_resource", 500011),
        ({"client_secret": "x", "client_id": str(uuid.UUID(int=1))}, 400, "unauthorized_client", 700016),
        ({"client_secret": "x", "at": str(uuid.UUID(int=2))}, 400, "invalid_request", 90002),
        ({"client_secret": "x", "at": "common"}, 400, "invalid_grant", 9001023),
        ({"client_secret": "x", "grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_secret": "x", "client_id": ""}, 400, "invalid_request", 900144),
    ],
)
def test_refusals_carry_the_documented_code(
    tenant: Tenant, form: dict[str, str], status: int, error: str, code: int
) -> None:
    answer = ask(tenant, **form)

    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert body["trace_id"] in body["error_description"]


def test_an_expired_secret_and_a_disabled_application_are_told_apart(simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["applications"][0]["secrets"][0]["expires_in_seconds"] = 0
    assert ask(install(simulator, spec), client_secret="bootstrap-secret-value").json()["error_codes"] == [7000222]

    spec = tenant_spec()
    spec["applications"][0]["enabled"] = False
    assert ask(install(simulator, spec), client_secret="bootstrap-secret-value").json()["error_codes"] == [7000112]


def test_a_new_key_is_unknown_until_it_has_propagated(
    tenant: Tenant, certificate: tuple[rsa.RSAPrivateKey, x509.Certificate]
) -> None:
    key, public = certificate
    der = base64.b64encode(public.public_bytes(serialization.Encoding.DER)).decode()
    tenant.turn(key_propagation_seconds=30)
    graph = tenant.graph()
    patched = graph.patch(
        f"/applications/{tenant.object_id}",
        json={"keyCredentials": [{"type": "AsymmetricX509Cert", "usage": "Verify", "key": der}]},
    )
    assert patched.status_code == 204, patched.text
    credential = {"private_key": private_pem(key), "public_certificate": pem_of(public)}

    early = client_of(tenant, credential).acquire_token_for_client([GRAPH_SCOPE])
    tenant.advance(31)
    late = client_of(tenant, credential).acquire_token_for_client([GRAPH_SCOPE])

    assert early["error_codes"] == [700027]
    assert "access_token" in late


def test_a_token_expires_on_the_identity_clock(simulator: Simulator) -> None:
    tenant = install(simulator, tenant_spec(knobs={"token_lifetime_seconds": 0}))

    answer = tenant.graph().get("/organization")

    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "Lifetime validation failed, the token is expired."


def test_discovery_names_this_tenant(simulator: Simulator, tenant: Tenant) -> None:
    url = f"{simulator.base_url}/{tenant.domain}/v2.0/.well-known/openid-configuration"

    body = httpx.get(url, verify=simulator.context()).json()

    assert body["token_endpoint"] == f"{simulator.base_url}/{tenant.tenant_id}/oauth2/v2.0/token"
    keys = httpx.get(body["jwks_uri"], verify=simulator.context()).json()["keys"]
    assert keys[0]["kty"] == "RSA"


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
