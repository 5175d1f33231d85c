"""Sealing: to ourselves at rest, from the orchestrator, to each receiver."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from cert_manager.domain.credential import bootstrap_context, credential_context
from mesh_runtime.resealing import SealedColumn
from mesh_runtime.sealing import Sealer, SealingKey, seal_for

SEALED_COLUMNS = (
    SealedColumn("registration", "tenant_id", "bootstrap_sealed", bootstrap_context),
    SealedColumn("credential", "credential_id", "sealed", credential_context),
)


class SealedVault:
    """Implements the Vault port over mesh_runtime.sealing."""

    def __init__(self, sealer: Sealer, own_key: SealingKey, receivers: Mapping[str, Mapping[str, Any]]) -> None:
        self._sealer, self._own_key, self._receivers = sealer, own_key, receivers

    def open_bootstrap(self, jwe: str, tenant_id: str) -> bytes:
        """InvalidInput if it was not sealed for us, for this tenant."""
        return self._own_key.open(jwe, context=bootstrap_context(tenant_id))

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """AES-GCM under our key-encryption key."""
        return self._sealer.seal(plaintext, context=context)

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """What :meth:`seal` made for the same context."""
        return self._sealer.open(sealed, context=context)

    def seal_for(self, receiver: str, plaintext: bytes, *, context: str) -> str:
        """A compact JWE to the receiver's public key."""
        return seal_for(self._receivers[receiver], plaintext, context=context)


def read_receivers(path: Path) -> dict[str, dict[str, Any]]:
    """Receiver -> public JWK; KeyError-free: both receivers must be there."""
    receivers: dict[str, dict[str, Any]] = orjson.loads(path.read_bytes())
    missing = {"graph-adapter", "pwsh-gateway"} - receivers.keys()
    if missing:
        raise ValueError(f"{path}: no public key for {', '.join(sorted(missing))}")
    return receivers
