"""Show one person: what HR says, what they should have against what was last read back, and where they stand."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh_runtime.errors import NotFound
from orchestrator.domain.comparison import Line, compare
from orchestrator.domain.views import PersonView, Views

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class PersonShown:
    """`lines` is empty for a person no plan was made for yet."""

    person: PersonView
    lines: tuple[Line, ...]


async def show_person(views: Views, tx: "AsyncConnection", customer: str, employee_id: str) -> PersonShown:
    """Raises NotFound."""
    person = await views.person(tx, customer, employee_id)
    if person is None:
        raise NotFound(
            f"customer {customer!r} has no person {employee_id!r}",
            code="person-not-found",
            remedy="Look at the dead letters: an event that could not be read leaves no person.",
        )
    lines = compare(person.desired, person.observed, upn=person.upn, number=person.number)
    return PersonShown(person, tuple(lines))
