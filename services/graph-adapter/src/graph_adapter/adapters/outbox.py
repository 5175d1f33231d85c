"""Replies on their way: each becomes a message in the outbox of the transaction that finished the operation.

Owns topic and key of a reply. Refuses to send anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from graph_adapter import wire
from graph_adapter.domain.operation import Reply
from graph_adapter.domain.ports import Observer
from graph_adapter.domain.views import StoredReply
from mesh_messaging import outbox
from mesh_messaging.envelope import CloudEvent
from mesh_messaging.outbox import OutboundMessage
from mesh_runtime.clock import Clock, IdGenerator


class OutboxReplies:
    """Implements the port `Replies` on one transaction."""

    def __init__(
        self,
        tx: AsyncConnection,
        encode: Callable[[Reply], wire.Completed],
        observer: Observer,
        ids: IdGenerator,
        clock: Clock,
    ) -> None:
        self._tx = tx
        self._encode = encode
        self._observer = observer
        self._ids = ids
        self._clock = clock

    async def send(self, replies: Sequence[Reply]) -> None:
        messages = []
        for reply in replies:
            command = reply.command
            trace = self._observer.finished(reply)
            event = self._event(command.operation_id, command.tenant_id, trace, self._encode(reply).data)
            messages.append(_message(command.reply_to, command.plan_id, command.operation_id, event))
        await outbox.append(self._tx, messages)

    async def resend(self, replies: Sequence[StoredReply]) -> None:
        messages = []
        for reply in replies:
            event = self._event(reply.operation_id, reply.tenant_id, reply.traceparent, reply.data)
            messages.append(_message(reply.reply_to, reply.plan_id, reply.operation_id, event))
        await outbox.append(self._tx, messages)

    def _event(self, operation_id: UUID, tenant_id: str, traceparent: str | None, data: bytes) -> CloudEvent:
        # Built directly, for speed: every value is ours and checked already.
        return CloudEvent(
            id=str(self._ids.new()),
            source=wire.SOURCE,
            type=wire.COMPLETED,
            time=self._clock.now(),
            subject=str(operation_id),
            tenant=tenant_id,
            data=data,
            traceparent=traceparent,
        )


def _message(reply_to: str, plan_id: UUID | None, operation_id: UUID, event: CloudEvent) -> OutboundMessage:
    return OutboundMessage(reply_to, str(plan_id or operation_id), event)
