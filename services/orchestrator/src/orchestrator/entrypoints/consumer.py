"""What the orchestrator listens to: a table from event type to use case.

Owns which topics are read and how their messages become calls. Everything else on these topics is skipped.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.message import Handler, InboundMessage
from orchestrator import wire, wire_plans
from orchestrator.application import PlanEngine, Rules, take_credential_news, take_replies
from orchestrator.entrypoints.hr_door import take_messages

NAME = wire.CONSUMER
TOPICS = (wire.HR_TOPIC, wire_plans.REPLIES_TOPIC, wire.CERTIFICATES_TOPIC)
BULK_TOPICS = (wire_plans.BULK_REPLIES_TOPIC,)


def handlers(rules: Rules, engine: PlanEngine) -> Mapping[str, Handler]:
    """Event type -> what is done with a batch of it, in the batch's transaction."""

    async def hr_events(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await take_messages(rules, tx, messages)

    async def replies(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await take_replies(engine, tx, [wire_plans.from_completed(message.event) for message in messages])

    async def credentials(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        await take_credential_news(rules, tx, [wire.credential_news(message.event) for message in messages])

    return {
        wire.PERSON_JOINED: hr_events,
        wire.PERSON_CHANGED: hr_events,
        **dict.fromkeys(wire_plans.COMPLETED_TYPES, replies),
        wire.CREDENTIAL_ACTIVATED: credentials,
        wire.CREDENTIAL_FAILED: credentials,
    }
