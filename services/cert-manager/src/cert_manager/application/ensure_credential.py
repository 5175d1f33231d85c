"""A tenant was registered or changed: remember how its app registration is to be served, and look at it at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from cert_manager.domain.credential import Registration, bootstrap_context
from cert_manager.domain.ports import Unit, Vault


@dataclass(frozen=True, slots=True)
class Ensure:
    """One request; ``bootstrap_jwe`` is sealed to cert-manager."""

    registration: Registration
    bootstrap_jwe: str | None


class EnsureCredential:
    """Called inside the consumer's transaction."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def __call__(self, unit: Unit, requests: Sequence[Ensure]) -> None:
        """Raises InvalidInput for a secret that was not sealed for us: the message becomes a dead letter."""
        for request in requests:
            tenant_id = request.registration.tenant_id
            secret = None
            if request.bootstrap_jwe is not None:
                opened = self._vault.open_bootstrap(request.bootstrap_jwe, tenant_id)
                secret = self._vault.seal(opened, context=bootstrap_context(tenant_id))
            await unit.save_registration(request.registration, secret)
