"""cert-manager on a real PostgreSQL, with the adapters' answers given by the test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cert_manager.adapters.certificates import SelfSignedIssuer
from cert_manager.adapters.db.units import DatabaseUnits
from cert_manager.adapters.vault import SealedVault
from cert_manager.application import EnsureCredential, Reconcile, TakeAnswers
from cert_manager.domain.policy import Limits
from cert_manager.domain.ports import Answer
from cert_manager.wire import EnsureCommand, Messages
from mesh_messaging.testing import drain_outbox
from mesh_runtime.clock import ManualClock, Uuid7Ids
from mesh_runtime.db import Database
from mesh_runtime.sealing import Sealer, SealingKey, seal_for

TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
START = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)


@dataclass
class Scene:
    """One cert-manager and everything it said."""

    db: Database
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    own_key: SealingKey = field(default_factory=lambda: SealingKey.generate("cert-manager"))
    receivers: Mapping[str, SealingKey] = field(
        default_factory=lambda: {name: SealingKey.generate(name) for name in ("graph-adapter", "pwsh-gateway")}
    )
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        public = {name: key.public_jwk for name, key in self.receivers.items()}
        self.vault = SealedVault(Sealer({"k1": bytes(32)}, "k1"), self.own_key, public)
        self.units = DatabaseUnits(self.db, Messages(clock=self.clock, ids=Uuid7Ids()))
        self.reconcile = Reconcile(
            self.units, SelfSignedIssuer(), self.vault, clock=self.clock, ids=Uuid7Ids(), limits=Limits()
        )

    async def ensure(self, *, secret: str | None = "first secret", **changes: Any) -> None:
        jwe = None
        if secret is not None:
            jwe = seal_for(self.own_key.public_jwk, secret.encode(), context=f"bootstrap:{TENANT}")
        command = {
            "tenant_id": TENANT,
            "customer": "northwind",
            "organization": "northwind.onmicrosoft.com",
            "client_id": "3f0c1c1e-7a58-4d38-8a1b-6d0f2f3a4b5c",
            "application_object_id": "b7d9a0e2-9c1d-4a7b-8c56-1d2e3f405162",
            "cloud": "commercial",
            "bootstrap_secret": jwe,
        }
        request = EnsureCommand.model_validate(command | changes).to_request()
        async with self.units.begin() as unit:
            await EnsureCredential(self.vault)(unit, [request])

    async def step(self) -> list[tuple[str, dict[str, Any]]]:
        """Reconcile, and return what was said by it."""
        await self.reconcile(TENANT)
        # Past the fault points: what is read here is the test's, not the service's.
        async with self.db.engine.begin() as tx:
            fresh = [(message.event.type, message.event.json()) for message in await drain_outbox(tx)]
        self.said += fresh
        return fresh

    async def answer(self, command: dict[str, Any], outcome: str = "succeeded", **error: Any) -> None:
        answer = Answer(
            operation_id=UUID(command["operation_id"]),
            outcome=outcome,
            code=error.get("code"),
            message=error.get("message"),
            retryable=bool(error.get("retryable")),
            at=self.clock.now(),
        )
        async with self.units.begin() as unit:
            await TakeAnswers()(unit, [answer])

    async def answer_all(self, said: list[tuple[str, dict[str, Any]]]) -> None:
        for _, data in said:
            if "operation_id" in data:
                await self.answer(data)

    async def run_to_the_end(self, *, rounds_max: int = 10) -> None:
        """Answer every command with yes until nothing more is said."""
        for _ in range(rounds_max):
            said = await self.step()
            if not said:
                return
            await self.answer_all(said)

    def types(self) -> list[str]:
        return [kind.removeprefix("ucmesh.").replace(".v1.", " ") for kind, _ in self.said]
