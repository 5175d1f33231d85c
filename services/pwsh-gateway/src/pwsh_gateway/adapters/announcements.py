"""Replies and session events, into the outbox.

Owns topics, keys and envelopes of what this service publishes. Refuses to publish anything past the caller's
transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.envelope import new_event
from mesh_messaging.outbox import OutboundMessage, append
from mesh_runtime.clock import Clock, IdGenerator
from pwsh_gateway import wire
from pwsh_gateway.domain.operations import Reply
from pwsh_gateway.domain.sessions import SessionEvent


class OutboxAnnouncer:
    """`domain.ports.Announcer` through the outbox."""

    def __init__(self, clock: Clock, ids: IdGenerator) -> None:
        self._clock = clock
        self._ids = ids

    async def replies(self, tx: AsyncConnection, replies: Sequence[Reply]) -> None:
        """Keyed by plan, so a plan gets its replies in order; without a plan by the request."""
        await append(tx, [self._reply(reply) for reply in replies])

    async def sessions(self, tx: AsyncConnection, events: Sequence[SessionEvent]) -> None:
        await append(tx, [self._session(event) for event in events])

    def _reply(self, reply: Reply) -> OutboundMessage:
        event = new_event(
            wire.COMPLETED,
            wire.SOURCE,
            wire.completed_payload(reply),
            subject=str(reply.operation_id),
            tenant=reply.tenant_id,
            ids=self._ids,
            clock=self._clock,
            traceparent=reply.traceparent,
        )
        return OutboundMessage(reply.reply_to, str(reply.plan_id or reply.operation_id), event)

    def _session(self, event: SessionEvent) -> OutboundMessage:
        envelope = new_event(
            f"{wire.SESSION}.{event.action}",
            wire.SOURCE,
            wire.session_payload(event),
            subject=str(event.session_id),
            tenant=event.tenant_id,
            ids=self._ids,
            clock=self._clock,
        )
        return OutboundMessage(wire.SESSIONS_TOPIC, event.tenant_id, envelope)
