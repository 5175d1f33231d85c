"""Messages in: the table of type -> use case.

Owns reading payloads. Refuses those that cannot be understood: they raise and end as dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.message import Handler, InboundMessage
from pwsh_gateway import wire
from pwsh_gateway.application import AcceptCommands, KeepCredentials

CONSUMER = "pwsh-gateway"
TOPICS = (wire.COMMANDS_TOPIC, wire.CERTIFICATES_TOPIC)
BULK_TOPICS = (wire.BULK_COMMANDS_TOPIC,)


def handlers(accept: AcceptCommands, credentials: KeepCredentials) -> Mapping[str, Handler]:
    """Event type -> what is done about it, in the transaction of the batch."""

    async def execute(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        commands = [
            wire.ExecutePayload.model_validate_json(message.event.data).command(message.event.traceparent)
            for message in messages
        ]
        await accept(tx, commands)

    async def delivered(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            payload = wire.DeliveredPayload.model_validate_json(message.event.data)
            sealed = payload.sealed.get(wire.RECEIVER)
            if sealed is not None:
                await credentials.receive(tx, payload.facts(), sealed)

    async def activated(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            payload = wire.ActivatedPayload.model_validate_json(message.event.data)
            await credentials.activate(tx, payload.tenant_id, payload.credential_id)

    async def failed(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            payload = wire.FailedPayload.model_validate_json(message.event.data)
            await credentials.drop(tx, payload.tenant_id, payload.credential_id)

    return {
        wire.EXECUTE: execute,
        wire.DELIVERED: delivered,
        wire.ACTIVATED: activated,
        wire.FAILED: failed,
    }
