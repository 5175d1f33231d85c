"""Client assertions (RFC 7523): verifies a signed JWT against an app registration's certificates. Owns the order of the
checks Entra makes; accepts PS256 with `x5t#S256` and RS256 with `x5t`, both with or without base64 padding, times as
floats and no `nbf`, because the libraries in use send exactly that."""

import base64
import binascii
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ucmesh_simulator.identity.errors import TokenError, assertion_refused
from ucmesh_simulator.objects import KeyCredential

SKEW_SECONDS = 300.0
_HELP = "https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials"


def verify_assertion(
    assertion: str,
    *,
    client_id: str,
    keys: Sequence[KeyCredential],
    audiences: Collection[str],
    now: float,
    world_now: float,
    check_subject: bool = True,
) -> KeyCredential:
    """The credential that signed it; raises TokenError 50027, 700027, 50012 or 700024. `world_now` decides key
    propagation, `now` everything with a validity. `check_subject` False is for proofs of possession, which carry no
    `sub`."""
    header, claims, signed, signature = _parts(assertion)
    key = _find_key(header, client_id, keys, world_now)
    if not _signature_fits(key, str(header.get("alg")), signed, signature):
        raise assertion_refused(
            client_id,
            "The provided signature value did not match the expected signature value., "
            f"Thumbprint of key used by client: '{_thumbprint(key)}'",
        )
    if not key.start - SKEW_SECONDS <= now <= key.end:
        raise assertion_refused(
            client_id,
            f"The key used is expired., Thumbprint of key used by client: '{_thumbprint(key)}', "
            f"Found key 'Start={_us_time(key.start)}, End={_us_time(key.end)}'",
        )
    if claims.get("iss") != client_id or (check_subject and claims.get("sub") != client_id):
        raise TokenError(
            50012, "Authentication failed. [Reason - The issuer or subject of the client assertion is not the client.]"
        )
    if claims.get("aud") not in audiences:
        raise TokenError(
            50012, f"Client assertion audience claim does not match Realm issuer. Review the documentation at {_HELP}."
        )
    _check_times(claims, now)
    return key


def _parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    pieces = assertion.split(".")
    try:
        head, body, signature = pieces
        header, claims = orjson.loads(decoded(head)), orjson.loads(decoded(body))
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise TypeError("not objects")  # noqa: TRY301
        return header, claims, f"{head}.{body}".encode(), decoded(signature)
    except (ValueError, TypeError, binascii.Error) as wrong:
        raise TokenError(50027, "JWT token is invalid or malformed.") from wrong


def decoded(text: str) -> bytes:
    """Base64url, padding optional."""
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def _find_key(header: dict[str, Any], client_id: str, keys: Sequence[KeyCredential], world_now: float) -> KeyCredential:
    wide, short = header.get("x5t#S256"), header.get("x5t")
    if not isinstance(wide, str) and not isinstance(short, str):
        raise TokenError(50027, "Invalid JWT token. No certificate thumbprint specified in token header.")
    try:
        print_ = decoded(wide if isinstance(wide, str) else str(short))
    except (ValueError, binascii.Error) as wrong:
        raise TokenError(50027, "JWT token is invalid or malformed.") from wrong
    for key in keys:
        known = key.sha256 if isinstance(wide, str) else key.sha1
        if known == print_ and key.usable_at <= world_now and (key.gone_at is None or world_now < key.gone_at):
            return key
    raise assertion_refused(
        client_id, f"The key was not found., Thumbprint of key used by client: '{print_.hex().upper()}'"
    )


def _signature_fits(key: KeyCredential, algorithm: str, signed: bytes, signature: bytes) -> bool:
    public = key.certificate.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        return False
    scheme: padding.AsymmetricPadding
    if algorithm == "PS256":
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    elif algorithm == "RS256":
        scheme = padding.PKCS1v15()
    else:
        return False
    try:
        public.verify(signature, signed, scheme, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _check_times(claims: dict[str, Any], now: float) -> None:
    until, since = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    numbers = isinstance(until, int | float) and isinstance(since, int | float)
    if not numbers or not since - SKEW_SECONDS <= now <= until + SKEW_SECONDS:  # type: ignore[operator]
        shown = [_iso(value) if isinstance(value, int | float) else str(value) for value in (now, since, until)]
        raise TokenError(
            700024,
            f"Client assertion is not within its valid time range. Current time: {shown[0]}, assertion valid from "
            f"{shown[1]}, expiry time of assertion {shown[2]}. Review the documentation at {_HELP}.",
        )


def _thumbprint(key: KeyCredential) -> str:
    return key.sha1.hex().upper()


def _us_time(at: float) -> str:
    return time.strftime("%m/%d/%Y %H:%M:%S", time.gmtime(at))


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
