"""App registrations and their certificates: read, whole-array PATCH of keyCredentials, addKey and removeKey with proof.
Owns the key rules; the token service reads the same objects."""

import base64
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ucmesh_simulator.clock import iso, parse_iso
from ucmesh_simulator.directory import schema
from ucmesh_simulator.directory.errors import GraphError, bad_request, denied, not_found
from ucmesh_simulator.directory.messages import GraphReply, GraphRequest
from ucmesh_simulator.directory.query import filter_of
from ucmesh_simulator.identity.assertion import verify_assertion
from ucmesh_simulator.identity.errors import TokenError
from ucmesh_simulator.objects import Application, KeyCredential, Secret
from ucmesh_simulator.tenant import Tenant

KEYS_MAX = 20
PROOF_AUDIENCE = "00000002-0000-0000-c000-000000000000"
DEFAULTS = (
    "id",
    "appId",
    "createdDateTime",
    "displayName",
    "identifierUris",
    "keyCredentials",
    "passwordCredentials",
    "signInAudience",
)
_WRITABLE = frozenset({"displayName", "keyCredentials", "passwordCredentials"})


def find_application(request: GraphRequest, key: str) -> Application:
    """By object id, or by client id in the `(appId='…')` form; only owners may touch with OwnedBy alone. Raises 404,
    403."""
    tenant = request.tenant
    if key.lower().startswith("(appid="):
        application = tenant.application_of_client(key[len("(appid=") : -1].strip("'\""))
    else:
        application = tenant.applications.get(key.lower())
    if application is None:
        raise not_found(key)
    wide = {"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}
    if not request.caller.roles & wide and request.caller.client_id not in application.owners:
        raise denied()
    return application


def get_application(request: GraphRequest, key: str) -> GraphReply:
    application = find_application(request, key)
    names = _names(request)
    with_key = "keyCredentials" in request.query.get("$select", "")
    shown: dict[str, Any] = {"@odata.context": request.context("applications/$entity")}
    return GraphReply(200, shown | render(application, names, with_key=with_key))


def list_applications(request: GraphRequest) -> GraphReply:
    wanted = filter_of(request, "application")
    names = _names(request)
    wide = bool(request.caller.roles - {"Application.ReadWrite.OwnedBy"})
    values = []
    for application in request.tenant.applications.values():
        if not wide and request.caller.client_id not in application.owners:
            continue
        row = {"id": application.object_id, "appId": application.client_id, "displayName": application.display_name}
        if wanted is None or wanted.matches(row):
            values.append(render(application, names, with_key=False))
    return GraphReply(200, {"@odata.context": request.context("applications"), "value": values})


def _names(request: GraphRequest) -> tuple[str, ...]:
    text = request.query.get("$select")
    if not text:
        return DEFAULTS
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    schema.check_names("application", names)
    return names


def render(application: Application, names: tuple[str, ...], *, with_key: bool) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "id": application.object_id,
        "appId": application.client_id,
        "createdDateTime": iso(application.created_at),
        "displayName": application.display_name,
        "identifierUris": [],
        "signInAudience": "AzureADMyOrg",
        "keyCredentials": [render_key(key, with_key=with_key) for key in application.keys],
        "passwordCredentials": [_render_secret(secret) for secret in application.secrets],
    }
    return {name: whole.get(name) for name in names}


def render_key(key: KeyCredential, *, with_key: bool) -> dict[str, Any]:
    return {
        "customKeyIdentifier": key.custom_key_identifier,
        "displayName": key.display_name,
        "endDateTime": iso(key.end),
        "key": base64.b64encode(key.der).decode() if with_key else None,
        "keyId": key.key_id,
        "startDateTime": iso(key.start),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def _render_secret(secret: Secret) -> dict[str, Any]:
    return {
        "customKeyIdentifier": None,
        "displayName": secret.display_name,
        "endDateTime": iso(secret.end),
        "hint": secret.hint,
        "keyId": secret.key_id,
        "secretText": None,
        "startDateTime": iso(secret.start),
    }


# -- writing ----------------------------------------------------------------------------------------------------------
def patch_application(request: GraphRequest, key: str) -> GraphReply:
    body = request.object_body()
    application = find_application(request, key)
    schema.check_body("application", body)
    unknown = sorted(set(body) - _WRITABLE)
    if unknown:
        raise bad_request(f"Updates to '{unknown[0]}' are not simulated.", "NotImplemented")
    if "keyCredentials" in body:
        replace_keys(request.tenant, application, body["keyCredentials"])
    if "passwordCredentials" in body:
        kept = {str(one.get("keyId")) for one in body["passwordCredentials"] or () if isinstance(one, dict)}
        application.secrets = [secret for secret in application.secrets if secret.key_id in kept]
    if isinstance(body.get("displayName"), str):
        application.display_name = body["displayName"]
    return GraphReply(204)


def replace_keys(tenant: Tenant, application: Application, wanted: object) -> None:
    """The array replaces what is there: an entry left out is removed, an entry known by keyId may come without its
    `key`."""
    if not isinstance(wanted, list) or len(wanted) > KEYS_MAX or any(not isinstance(one, dict) for one in wanted):
        raise bad_request("Property 'keyCredentials' in payload has a value that does not match schema.")
    held = {key.key_id: key for key in application.keys}
    after: list[KeyCredential] = []
    for item in wanted:
        known = held.get(str(item.get("keyId", "")).lower())
        if known is not None and (not item.get("key") or _der(item["key"]) == known.der):
            after.append(known)
            continue
        after.append(make_key(tenant, item))
    propagation = tenant.knobs.key_propagation_seconds
    now = tenant.now()
    for key in application.keys:
        if key not in after:
            key.gone_at = now + propagation
            application.retired_keys.append(key)
    application.retired_keys = [
        key for key in application.retired_keys if key.gone_at is not None and key.gone_at > now
    ]
    application.keys = after


def make_key(tenant: Tenant, item: dict[str, Any], *, usable_at: float | None = None) -> KeyCredential:
    """A credential from a Graph keyCredential; raises 400 for a bad certificate or bad dates."""
    if item.get("type", "AsymmetricX509Cert") != "AsymmetricX509Cert" or item.get("usage", "Verify") != "Verify":
        raise bad_request("New certificate must have type 'AsymmetricX509Cert' and usage 'Verify'.")
    if not item.get("key"):
        raise bad_request("New key credentials must have a key value.", "KeyCredentialsInvalid")
    der = _der(item["key"])
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as wrong:
        raise _no_certificate() from wrong
    sha1 = certificate.fingerprint(hashes.SHA1())  # noqa: S303  the thumbprint x5t carries
    earliest = certificate.not_valid_before_utc.timestamp()
    latest = certificate.not_valid_after_utc.timestamp()
    start = _time(item.get("startDateTime"), earliest)
    end = _time(item.get("endDateTime"), latest)
    if end > latest + 1 or start < earliest - 1 or end <= start:
        raise bad_request("Key credential end date is invalid.", "KeyCredentialsInvalidEndDate")
    now = tenant.now()
    return KeyCredential(
        key_id=str(item.get("keyId") or tenant.new_id()).lower(),
        certificate=certificate,
        der=der,
        sha1=sha1,
        sha256=certificate.fingerprint(hashes.SHA256()),
        display_name=item.get("displayName") or certificate.subject.rfc4514_string(),
        custom_key_identifier=str(item.get("customKeyIdentifier") or base64.b64encode(sha1).decode()),
        start=start,
        end=end,
        usable_at=now + tenant.knobs.key_propagation_seconds if usable_at is None else usable_at,
    )


def _time(value: object, default: float) -> float:
    if value is None:
        return default
    try:
        return parse_iso(str(value))
    except ValueError as wrong:
        raise bad_request(f"Cannot convert the literal '{value}' to the expected type 'Edm.DateTimeOffset'.") from wrong


def _der(value: object) -> bytes:
    try:
        raw = base64.b64decode(str(value), validate=True)
    except ValueError as wrong:  # also for text that is not ASCII
        raise bad_request("Cannot convert the literal to the expected type 'Edm.Binary'.") from wrong
    if not raw.startswith(b"-----BEGIN"):
        return raw
    try:
        return x509.load_pem_x509_certificate(raw).public_bytes(Encoding.DER)
    except ValueError as wrong:
        raise _no_certificate() from wrong


def _no_certificate() -> GraphError:
    return bad_request("Key credential is not a valid certificate.", "KeyCredentialsInvalid")


# -- addKey / removeKey -----------------------------------------------------------------------------------------------
def add_key(request: GraphRequest, key: str) -> GraphReply:
    body = request.object_body()
    application = _rolled(request, key)
    _check_proof(request, application, body.get("proof"))
    item = body.get("keyCredential")
    if not isinstance(item, dict):
        raise bad_request("Property 'keyCredential' in payload has a value that does not match schema.")
    if len(application.keys) >= KEYS_MAX:
        raise bad_request(
            "The directory object quota limit for the key credentials has been exceeded.", "Directory_QuotaExceeded"
        )
    made = make_key(request.tenant, item)
    application.keys.append(made)
    shown: dict[str, Any] = {"@odata.context": request.context("microsoft.graph.keyCredential")}
    return GraphReply(200, shown | render_key(made, with_key=False))


def remove_key(request: GraphRequest, key: str) -> GraphReply:
    body = request.object_body()
    application = _rolled(request, key)
    _check_proof(request, application, body.get("proof"))
    key_id = str(body.get("keyId", "")).lower()
    found = next((one for one in application.keys if one.key_id == key_id), None)
    if found is None:
        raise bad_request("No credentials found to be removed.")
    found.gone_at = request.tenant.now() + request.tenant.knobs.key_propagation_seconds
    application.keys.remove(found)
    application.retired_keys.append(found)
    return GraphReply(204)


def _rolled(request: GraphRequest, key: str) -> Application:
    """An application may roll its own keys without any permission; for another one the usual rules hold."""
    own = request.application
    if own is not None and key.lower() in {own.object_id, f"(appid='{own.client_id}')"}:
        return own
    if not request.caller.roles & {
        "Application.ReadWrite.OwnedBy",
        "Application.ReadWrite.All",
        "Directory.ReadWrite.All",
    }:
        raise denied()
    return find_application(request, key)


def _check_proof(request: GraphRequest, application: Application, proof: object) -> None:
    tenant = request.tenant
    try:
        verify_assertion(
            str(proof or ""),
            client_id=application.object_id,
            check_subject=False,
            keys=application.keys,
            audiences={PROOF_AUDIENCE},
            now=tenant.clock.identity_now(),
            world_now=tenant.clock.now(),
        )
    except TokenError as wrong:
        raise GraphError(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed.") from wrong
