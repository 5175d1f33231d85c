"""Start the plans of people who waited for their tenant to become ready."""

from mesh_runtime.db import Database
from orchestrator.application.rules import Rules
from orchestrator.application.start_people import start_again

PEOPLE_COUNT_MAX = 500


async def start_waiting_people(rules: Rules, db: Database) -> int:
    """One batch in one transaction; returns how many people were taken up. Replicas never take the same ones."""
    async with db.transaction() as tx:
        people = await rules.people.waiting(tx, PEOPLE_COUNT_MAX)
        await start_again(rules, tx, people)
    return len(people)
