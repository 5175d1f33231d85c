"""Adapters answered: note what they said about which credential, and look at its tenant at once."""

from collections.abc import Sequence

from cert_manager.domain.ports import Answer, Unit


class TakeAnswers:
    """Called inside the consumer's transaction."""

    async def __call__(self, unit: Unit, answers: Sequence[Answer]) -> None:
        """Replies to requests we do not know (another instance's past) are ignored."""
        await unit.answer(answers)
