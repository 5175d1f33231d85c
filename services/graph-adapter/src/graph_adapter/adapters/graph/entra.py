"""One confidential client at Entra, by MSAL. Blocking: callers run it in a thread.

Owns the imports of MSAL and of its HTTP session, the client assertion, and the translation of everything that can go
wrong. Refuses proxies and certificates from the environment, and to pass texts on: they may hold what was sent. Refuses
the machine's wall clock, which MSAL uses: assertions are dated by the clock given, its memory of tokens is not used.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from msal.oauth2cli import JwtAssertionCreator

from graph_adapter.adapters.graph.login_errors import outcome_of, unavailable
from graph_adapter.domain.credential import Credential, CredentialRefused, CredentialSecret
from mesh_runtime.clock import Clock
from mesh_runtime.errors import MeshError

HTTP_TIMEOUT_SECONDS = 15
ASSERTION_SECONDS = 600

T = TypeVar("T")


class EntraClient:
    """Signs in with one credential. Raises CredentialRefused, or Unavailable with `detail.retry_after_seconds`."""

    def __init__(
        self, credential: Credential, secret: CredentialSecret, login_url: str, ca_file: Path | None, clock: Clock
    ) -> None:
        self._clock = clock
        self._session = _Session(ca_file)
        self._app = self._translated(lambda: self._build(credential, secret, login_url))

    def sign_in(self, scope: str) -> dict[str, Any]:
        """Entra's answer with `access_token` and `expires_in`."""
        answer: dict[str, Any] = self._translated(lambda: self._ask(scope))
        if "access_token" in answer:
            return answer
        error = outcome_of(answer)
        if error.retryable and self._session.retry_after_seconds is not None:
            error.detail["retry_after_seconds"] = self._session.retry_after_seconds
        raise error

    def _ask(self, scope: str) -> dict[str, Any]:
        # MSAL forgets tokens by the machine's clock; who calls us has no good token.
        self._app.remove_tokens_for_client()
        answer: dict[str, Any] = self._app.acquire_token_for_client([scope])
        return answer

    def _build(self, credential: Credential, secret: CredentialSecret, login_url: str) -> Any:
        return msal.ConfidentialClientApplication(
            credential.client_id,
            authority=f"{login_url}/{credential.tenant_id}",
            client_credential=secret.client_secret
            if secret.client_secret is not None
            else {"client_assertion": self._assertion(credential.client_id, secret)},
            instance_discovery=False,
            http_client=self._session,
        )

    def _assertion(self, client_id: str, secret: CredentialSecret) -> Callable[[Mapping[str, str]], str]:
        """Signed for each sign-in. PS256, and the certificate named by SHA-256, as Entra recommends."""
        certificate = x509.load_pem_x509_certificate((secret.certificate_pem or "").encode())
        creator = JwtAssertionCreator(
            secret.private_key_pem,
            algorithm="PS256",
            sha256_thumbprint=certificate.fingerprint(hashes.SHA256()).hex(),
            headers={"x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]},
        )

        def sign(context: Mapping[str, str]) -> str:
            now = self._clock.now().timestamp()
            signed: bytes = creator.create_normal_assertion(
                context["token_endpoint"], client_id, issued_at=now, not_before=now, expires_at=now + ASSERTION_SECONDS
            )
            return signed.decode()

        return sign

    def _translated(self, work: Callable[[], T]) -> T:
        self._session.forget_answer()
        try:
            return work()
        except (requests.RequestException, msal.exceptions.MsalError) as error:
            raise self._unavailable(error) from None
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            # MSAL raises these both for answers it cannot use and for keys it cannot use.
            raise self._unusable(error) from None

    def _unavailable(self, error: Exception) -> MeshError:
        found = unavailable(f"the sign-in service does not answer ({type(error).__name__})")
        if self._session.retry_after_seconds is not None:
            found.detail["retry_after_seconds"] = self._session.retry_after_seconds
        return found

    def _unusable(self, error: Exception) -> MeshError:
        status = self._session.status
        if status is None:
            return CredentialRefused("the key of the credential cannot be used", remedy="Deliver the credential again.")
        if 400 <= status < 500 and status != 429:
            return CredentialRefused("Entra does not know the tenant", remedy="Check the tenant id and the cloud.")
        return self._unavailable(error)


class _Session(requests.Session):
    """MSAL's way out: our trust, no environment, bounded waits; remembers the last answer's status and Retry-After."""

    def __init__(self, ca_file: Path | None) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = str(ca_file) if ca_file is not None else True
        self.status: int | None = None
        self.retry_after_seconds: float | None = None

    def forget_answer(self) -> None:
        self.status = self.retry_after_seconds = None

    def request(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("timeout", HTTP_TIMEOUT_SECONDS)
        answer = super().request(*args, **kwargs)
        self.status = answer.status_code
        retry_after = answer.headers.get("Retry-After", "")
        self.retry_after_seconds = float(retry_after) if retry_after.isdigit() else None
        return answer
