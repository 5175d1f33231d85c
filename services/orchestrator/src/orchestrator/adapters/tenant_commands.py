"""Commands about whole tenants, through the outbox (port `TenantCommands`): certificates, and reads without a plan."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.envelope import new_event
from mesh_messaging.outbox import OutboundMessage, append
from mesh_runtime.clock import Clock, IdGenerator
from orchestrator import wire, wire_plans
from orchestrator.domain.stores import CredentialOrder
from orchestrator.participants.graph import OBSERVE_TENANT

OBSERVE_DEADLINE_SECONDS = 300


class OutboxTenantCommands:
    def __init__(self, clock: Clock, ids: IdGenerator) -> None:
        self._clock = clock
        self._ids = ids

    async def ensure_credentials(self, tx: AsyncConnection, orders: Sequence[CredentialOrder]) -> None:
        messages = []
        for order in orders:
            event = new_event(
                wire.CREDENTIAL_ENSURE,
                wire_plans.SOURCE,
                wire.ensure_credential(order),
                subject=order.tenant_id,
                tenant=order.tenant_id,
                ids=self._ids,
                clock=self._clock,
            )
            messages.append(OutboundMessage(wire.CERTS_COMMANDS_TOPIC, order.tenant_id, event))
        await append(tx, messages)

    async def observe_tenants(self, tx: AsyncConnection, tenant_ids: Sequence[str]) -> None:
        deadline = self._clock.now() + timedelta(seconds=OBSERVE_DEADLINE_SECONDS)
        messages = []
        for tenant_id in tenant_ids:
            data = wire_plans.execute_data(
                self._ids.new(), OBSERVE_TENANT, 1, tenant_id=tenant_id, subject=tenant_id, params={}, deadline=deadline
            )
            event = new_event(
                wire_plans.COMMAND_TYPES["graph"],
                wire_plans.SOURCE,
                data,
                subject=tenant_id,
                tenant=tenant_id,
                ids=self._ids,
                clock=self._clock,
            )
            messages.append(OutboundMessage(wire_plans.COMMAND_TOPICS["graph"], f"{tenant_id}:{tenant_id}", event))
        await append(tx, messages)
