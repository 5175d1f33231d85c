"""Message type -> use case."""

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from cert_manager import wire
from cert_manager.application import EnsureCredential, TakeAnswers
from cert_manager.domain.ports import Unit
from mesh_messaging.message import Handler, InboundMessage

TOPICS = (wire.COMMANDS_TOPIC, wire.REPLIES_TOPIC)


def handlers(
    on: Callable[[AsyncConnection], Unit], ensure: EnsureCredential, take: TakeAnswers
) -> Mapping[str, Handler]:
    """The table; ``on`` makes a unit of the consumer's transaction."""

    async def ensure_credentials(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        requests = [wire.EnsureCommand.model_validate_json(message.event.data).to_request() for message in messages]
        await ensure(on(tx), requests)

    async def take_answers(tx: AsyncConnection, messages: Sequence[InboundMessage]) -> None:
        answers = [wire.Completed.model_validate_json(message.event.data).to_answer() for message in messages]
        await take(on(tx), answers)

    return {wire.ENSURE: ensure_credentials, wire.GRAPH_COMPLETED: take_answers, wire.PWSH_COMPLETED: take_answers}
