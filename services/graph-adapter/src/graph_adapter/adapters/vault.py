"""Secrets of credentials: from the transport seal to our own seal, and out of it for a sign-in.

Owns the contexts that bind a secret to its credential. Refuses to keep anything open.
"""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from graph_adapter.domain.credential import Credential, CredentialKind, CredentialSecret
from graph_adapter.wire import CertificateBundle, SecretBundle
from mesh_runtime.errors import InvalidInput
from mesh_runtime.resealing import SealedColumn
from mesh_runtime.sealing import Sealer, SealingKey

Bundle = TypeVar("Bundle", bound=BaseModel)


class SealedVault:
    """Implements the port `Vault`, and opens what was kept."""

    def __init__(self, sealing_key: SealingKey, sealer: Sealer) -> None:
        self._key = sealing_key
        self._sealer = sealer

    def take(self, credential_id: UUID, jwe: str) -> bytes:
        context = _context(credential_id)
        return self._sealer.seal(self._key.open(jwe, context=context), context=context)

    def open(self, credential: Credential, sealed: bytes) -> CredentialSecret:
        """Raises InvalidInput when the seal is broken or the content is not what the kind promises."""
        plaintext = self._sealer.open(sealed, context=_context(credential.credential_id))
        if credential.kind is CredentialKind.CLIENT_SECRET:
            return CredentialSecret(client_secret=_read(SecretBundle, plaintext).client_secret)
        bundle = _read(CertificateBundle, plaintext)
        return CredentialSecret(certificate_pem=bundle.certificate_pem, private_key_pem=bundle.private_key_pem)


def _context(credential_id: UUID) -> str:
    return f"credential:{credential_id}"


def _read(model: type[Bundle], plaintext: bytes) -> Bundle:
    try:
        return model.model_validate_json(plaintext)
    except ValidationError:
        raise InvalidInput(
            "the sealed credential does not hold what its kind promises", code="credential-invalid"
        ) from None


SEALED_COLUMNS = (SealedColumn("credential", "credential_id", "sealed", _context),)
