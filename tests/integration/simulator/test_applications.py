"""Certificates on an app registration: the whole-array PATCH, rolling keys with a proof, and who may touch whose
registration."""

import base64
import time
import uuid
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, tenant_spec

FIRST = make_certificate("first")
SECOND = make_certificate("second")


def der(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def credential(certificate: x509.Certificate, **fields: object) -> dict[str, object]:
    return {"type": "AsymmetricX509Cert", "usage": "Verify", "key": der(certificate), "displayName": "ucmesh", **fields}


def keys_of(graph: httpx.Client, tenant: Tenant) -> list[dict[str, Any]]:
    answer = graph.get(f"/applications/{tenant.object_id}", params={"$select": "id,keyCredentials"})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["keyCredentials"]
    return found


def proof(tenant: Tenant, pair: tuple[rsa.RSAPrivateKey, x509.Certificate], **changes: object) -> str:
    key, certificate = pair
    now = int(time.time())
    claims = {
        "aud": "00000002-0000-0000-c000-000000000000",
        "iss": tenant.object_id,
        "nbf": now,
        "exp": now + 600,
        **changes,
    }
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA1())).decode()
    return jwt.encode(claims, key, algorithm="RS256", headers={"x5t": thumbprint})


def test_the_array_replaces_what_was_there(tenant: Tenant) -> None:
    graph = tenant.graph()
    url = f"/applications/{tenant.object_id}"

    assert graph.patch(url, json={"keyCredentials": [credential(FIRST[1])]}).status_code == 204
    held = keys_of(graph, tenant)
    appended = [*held, credential(SECOND[1])]
    assert graph.patch(url, json={"keyCredentials": appended}).status_code == 204
    both = keys_of(graph, tenant)
    assert graph.patch(url, json={"keyCredentials": [credential(SECOND[1])]}).status_code == 204

    assert both[0]["keyId"] == held[0]["keyId"]
    assert held[0]["key"] == der(FIRST[1])
    assert held[0]["customKeyIdentifier"] == base64.b64encode(FIRST[1].fingerprint(hashes.SHA1())).decode()
    assert [one["thumbprint"] for one in tenant.state("applications")[0]["keys"]] == [
        SECOND[1].fingerprint(hashes.SHA1()).hex().upper()
    ]


def test_the_key_is_shown_only_when_it_is_asked_for_on_one_object(tenant: Tenant) -> None:
    graph = tenant.graph()
    graph.patch(f"/applications/{tenant.object_id}", json={"keyCredentials": [credential(FIRST[1])]})

    plain = graph.get(f"/applications(appId='{tenant.client_id}')").json()
    listed = graph.get("/applications", params={"$filter": f"appId eq '{tenant.client_id}'"}).json()["value"]

    assert plain["id"] == tenant.object_id
    assert plain["keyCredentials"][0]["key"] is None
    assert listed[0]["keyCredentials"][0]["key"] is None
    assert plain["passwordCredentials"][0]["secretText"] is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "AAAA"}, "KeyCredentialsInvalid"),
        ({"key": None}, "KeyCredentialsInvalid"),
        ({"key": base64.b64encode(b"-----BEGIN NONSENSE").decode()}, "KeyCredentialsInvalid"),
        ({"key": "é"}, "Request_BadRequest"),
        ({"endDateTime": "2099-01-01T00:00:00Z"}, "KeyCredentialsInvalidEndDate"),
        ({"usage": "Sign"}, "Request_BadRequest"),
    ],
)
def test_a_bad_credential_changes_nothing(tenant: Tenant, change: dict[str, object], code: str) -> None:
    graph = tenant.graph()

    answer = graph.patch(f"/applications/{tenant.object_id}", json={"keyCredentials": [credential(FIRST[1], **change)]})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert keys_of(graph, tenant) == []


def test_keys_roll_with_a_proof_and_no_permission(simulator: Simulator) -> None:
    spec = tenant_spec()
    spec["applications"][0] |= {"roles": [], "certificates": [{"certificate": pem_of(FIRST[1])}]}
    tenant = install(simulator, spec)
    graph = tenant.graph()
    url = f"/applications/{tenant.object_id}"

    added = graph.post(f"{url}/addKey", json={"keyCredential": credential(SECOND[1]), "proof": proof(tenant, FIRST)})
    assert added.status_code == 200, added.text
    old = tenant.state("applications")[0]["keys"][0]["key_id"]
    removed = graph.post(f"{url}/removeKey", json={"keyId": old, "proof": proof(tenant, SECOND)})

    assert removed.status_code == 204
    assert [one["key_id"] for one in tenant.state("applications")[0]["keys"]] == [added.json()["keyId"]]


@pytest.mark.parametrize("changes", [{"aud": "x"}, {"iss": "x"}, {"exp": 1}])
def test_a_proof_for_something_else_is_a_401(simulator: Simulator, changes: dict[str, object]) -> None:
    spec = tenant_spec()
    spec["applications"][0]["certificates"] = [{"certificate": pem_of(FIRST[1])}]
    tenant = install(simulator, spec)

    answer = tenant.graph().post(
        f"/applications/{tenant.object_id}/addKey",
        json={"keyCredential": credential(SECOND[1]), "proof": proof(tenant, FIRST, **changes)},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "Authentication_MissingOrMalformed")


def test_owned_by_reaches_only_what_the_application_owns(simulator: Simulator) -> None:
    spec = tenant_spec()
    stranger = {"client_id": str(uuid.uuid4()), "object_id": str(uuid.uuid4())}
    spec["applications"].append(stranger)
    spec["applications"][0]["roles"] = ["Application.ReadWrite.OwnedBy"]
    graph = install(simulator, spec).graph()

    own = graph.get(f"/applications/{spec['applications'][0]['object_id']}")
    other = graph.patch(f"/applications/{stranger['object_id']}", json={"keyCredentials": []})

    assert own.status_code == 200
    assert (other.status_code, other.json()["error"]["code"]) == (403, "Authorization_RequestDenied")
