"""The messages this service takes: type of the event → use case.

Owns that table. Refuses logic: each handler reads the messages into the domain and calls one use case, in the
consumer's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter import wire
from graph_adapter.application.accept_operations import Desk, accept_operations
from graph_adapter.application.activate_credentials import activate_credentials
from graph_adapter.application.keep_credentials import keep_credentials
from graph_adapter.domain.ports import Unit, Vault
from mesh_messaging.message import Handler, InboundMessage
from mesh_runtime.clock import Clock

TOPICS = (wire.COMMANDS_TOPIC, wire.CERTIFICATES_TOPIC)
BULK_TOPICS = (wire.BULK_COMMANDS_TOPIC,)


def handlers(
    unit_on: Callable[[AsyncConnection], Unit], vault: Vault, clock: Clock, desk: Desk | None = None
) -> Mapping[str, Handler]:
    """`unit_on` makes a unit of work of the consumer's transaction; `desk` leads to the worker, if this process has
    one.
    """

    async def execute(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await accept_operations(unit_on(tx), [wire.command_of(message.event) for message in messages], clock, desk)

    async def delivered(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        found = [wire.delivery_of(message.event) for message in messages]
        await keep_credentials(unit_on(tx), [delivery for delivery in found if delivery is not None], vault, clock)

    async def activated(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await activate_credentials(unit_on(tx), [wire.activation_of(message.event) for message in messages], clock)

    return {wire.EXECUTE: execute, wire.CREDENTIAL_DELIVERED: delivered, wire.CREDENTIAL_ACTIVATED: activated}
