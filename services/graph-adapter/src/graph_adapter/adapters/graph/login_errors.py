"""What Entra's sign-in errors mean, by AADSTS number (source: Microsoft's reference of error codes).

Owns the one table. Refuses message texts: numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph_adapter.domain.credential import CredentialRefused
from mesh_runtime.errors import MeshError, Unavailable

TRANSIENT_SECONDS = 5.0

# The last one: an assertion of another time. It says that clocks differ, nothing about the credential.
_TRANSIENT = frozenset({90033, 90024, 90006, 90055, 50196, 700024})

# number: (may be true for a few minutes only, what to do)
_REFUSALS: Mapping[int, tuple[bool, str]] = {
    700027: (
        True,
        "The certificate is not registered on the app registration (or not known everywhere yet), or expired.",
    ),
    700030: (False, "The certificate's subject is not trusted by the app registration."),
    50012: (False, "The certificate is not registered on this app registration, or the tenant is another one."),
    50027: (False, "The client assertion names no certificate."),
    7000215: (False, "The client secret is wrong: apply the customer's configuration with a current one."),
    7000222: (False, "The client secret expired: apply the customer's configuration with a new one."),
    7000218: (False, "The request carried no credential."),
    700016: (True, "The application is not in this tenant: give admin consent, or correct client id and tenant id."),
    70001: (False, "The application is disabled or does not exist."),
    7000112: (False, "The application's service principal is disabled."),
    90002: (False, "The tenant id is wrong, or the tenant is in another cloud."),
    900023: (False, "The tenant id is not valid."),
    90038: (False, "The tenant is in another cloud."),
    900382: (False, "The tenant is in another cloud."),
    900432: (False, "The tenant is in another cloud."),
    500011: (False, "Microsoft Graph has no service principal in the tenant."),
    53003: (False, "A Conditional Access policy blocks the app registration."),
}


def outcome_of(answer: Mapping[str, Any]) -> MeshError:
    """The error for MSAL's error answer. Never carries the description: it may name what the caller sent."""
    codes = [code for code in answer.get("error_codes") or () if isinstance(code, int)]
    code = codes[0] if codes else 0
    name = f"AADSTS{code}" if code else str(answer.get("error") or "unknown")
    detail: dict[str, object] = {"login_error": name, "correlation_id": answer.get("correlation_id")}
    if code in _TRANSIENT:
        return unavailable(f"sign-in is not possible now ({name})", detail)
    retryable, remedy = _REFUSALS.get(code, (False, "See Microsoft's reference of AADSTS codes."))
    return CredentialRefused(
        f"Entra refuses the credential ({name}).", retryable=retryable, remedy=remedy, detail=detail
    )


def unavailable(message: str, detail: Mapping[str, object] | None = None) -> Unavailable:
    """Sign-in should be tried again after a pause."""
    return Unavailable(
        message, code="sign-in-unavailable", detail={"retry_after_seconds": TRANSIENT_SECONDS, **(detail or {})}
    )
