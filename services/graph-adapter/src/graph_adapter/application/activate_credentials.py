"""A verified credential becomes the one a tenant's operations use."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from graph_adapter.domain.ports import Unit
from mesh_runtime.clock import Clock
from mesh_runtime.errors import Unavailable


async def activate_credentials(unit: Unit, activations: Sequence[tuple[str, UUID]], clock: Clock) -> None:
    """(tenant, credential) pairs in order, the last one of a tenant wins.

    Raises Unavailable when one is not here: its delivery comes on the same topic and key, so it can only be waiting
    on the retry ladder.
    """
    known = await unit.credentials.activate(activations, clock.now())
    unknown = {credential_id for _, credential_id in activations} - known
    if unknown:
        raise Unavailable(
            "a credential was activated that was not delivered here",
            code="credential-unknown",
            detail={"credential_ids": sorted(str(credential_id) for credential_id in unknown)},
        )
