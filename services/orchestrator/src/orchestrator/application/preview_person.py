"""Take in an HR event as if it had arrived, for a preview (the engine's PreviewSource); it is rolled back."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mesh_runtime.errors import InvalidInput, NotFound
from orchestrator.application.rules import Rules
from orchestrator.application.start_people import decide
from orchestrator.domain.hr_event import HrEvent
from orchestrator.domain.people import WAITING, new_person
from orchestrator.domain.ports import PlanningRequest, PreviewSubject, Refusal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

NOBODY: Mapping[str, Any] = {"user": None, "taken": []}


class PreviewPerson:
    """`parse` reads the data of an HR event and raises InvalidInput."""

    def __init__(self, rules: Rules, parse: Callable[[Mapping[str, Any]], HrEvent]) -> None:
        self._rules = rules
        self._parse = parse

    async def prepare(self, tx: "AsyncConnection", customer: str, event: Mapping[str, Any]) -> PreviewSubject | Refusal:
        """The person as the event would leave them, with what was last observed of them."""
        rules, now = self._rules, self._rules.clock.now()
        parsed = self._parse({"customer": customer, **event})
        if parsed.customer != customer:
            raise InvalidInput(
                f"the event is of customer {parsed.customer!r}, not {customer!r}", code="customer-differs"
            )
        rulebooks = await rules.rulebooks.rulebooks(tx, {customer})
        if not rulebooks:
            raise NotFound(f"there is no customer {customer!r}", code="customer-not-found")
        arrived = new_person(parsed, rules.ids.new())
        standing = (await decide(rules, tx, [arrived], rulebooks, now))[arrived.person_id]
        if standing.refusal is not None:
            return standing.refusal
        if standing.status == WAITING or standing.plan_id is None:
            return Refusal(
                "tenant-not-ready",
                f"Tenant {standing.tenant_id} has no working certificate yet, or was not read yet.",
                "Look at the tenant's state and reason.",
            )
        person_id = await rules.people.assume(tx, arrived, now)
        await rules.people.place(tx, {person_id: standing}, now)
        seen, seen_at = await rules.people.last_seen(tx, person_id)
        request = PlanningRequest(standing.plan_id, person_id, seen or NOBODY)
        return PreviewSubject(request, standing.site, standing.profile, seen_at)
