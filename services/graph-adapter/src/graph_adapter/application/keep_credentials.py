"""Delivered credentials are taken in: opened with our key, sealed for our database, usable by id at once, active only
when told so.
"""

from __future__ import annotations

from collections.abc import Sequence

from graph_adapter.domain.credential import Credential
from graph_adapter.domain.ports import Unit, Vault
from mesh_runtime.clock import Clock


async def keep_credentials(
    unit: Unit, deliveries: Sequence[tuple[Credential, str]], vault: Vault, clock: Clock
) -> None:
    """`deliveries` are credentials with the JWE sealed for us. Raises InvalidInput when one cannot be opened:
    tampered, or for another.
    """
    sealed = [(credential, vault.take(credential.credential_id, jwe)) for credential, jwe in deliveries]
    await unit.credentials.keep(sealed, clock.now())
