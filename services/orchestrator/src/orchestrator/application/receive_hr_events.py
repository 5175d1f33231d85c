"""Take in what HR says: newer facts replace older ones, a site and a profile are found, a plan starts or is refused.

A batch costs a handful of statements. Duplicates never come here (the inbox holds them back); an event older than what
is known is remembered as stale and changes nothing. An event of an unknown customer is rejected: the door keeps it as a
dead letter, which can be replayed once the customer exists.
"""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.application.hr_spans import event_traces
from orchestrator.application.rules import Rules
from orchestrator.application.start_people import begin, decide
from orchestrator.domain.hr_event import HrEvent
from orchestrator.domain.people import Person, Standing, go_on, is_outdated, new_person
from orchestrator.domain.plan import Reason
from orchestrator.domain.ports import Refusal
from orchestrator.domain.profile import Rulebook
from orchestrator.domain.stores import PersonKey

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

START_MOVED = Reason("start-date-moved", "HR changed the start date; a new plan takes the place of this one")

Outcome = Literal["accepted", "stale", "rejected"]


@lean_dataclass(frozen=True, slots=True)
class Reception:
    """What became of one event; `rejection` says why it cannot be taken in now."""

    event: HrEvent
    outcome: Outcome
    plan_id: UUID | None = None
    rejection: Refusal | None = None


async def known_customers(rules: Rules, tx: "AsyncConnection", events: Sequence[HrEvent]) -> frozenset[str]:
    """The customers of these events that exist; for a door that must know before it admits an event."""
    return frozenset(await rules.rulebooks.rulebooks(tx, {event.customer for event in events}))


async def receive_hr_events(rules: Rules, tx: "AsyncConnection", events: Sequence[HrEvent]) -> list[Reception]:
    """One reception for each event, in order."""
    now = rules.clock.now()
    customers = await rules.rulebooks.rulebooks(tx, {event.customer for event in events})
    known = [event for event in events if event.customer in customers]
    newest = _newest(known)
    plans = await _take(rules, tx, list(newest.values()), customers, now)
    receptions = [_reception(event, newest, plans, customers) for event in events]
    await rules.people.record(tx, [(r.event, r.outcome, r.plan_id) for r in receptions if r.outcome != "rejected"], now)
    return receptions


async def _take(
    rules: Rules,
    tx: "AsyncConnection",
    events: Sequence[HrEvent],
    rulebooks: Mapping[str, Rulebook],
    now: datetime,
) -> dict[PersonKey, UUID | None]:
    """Store, decide, start; returns the plans of those whose facts were new."""
    if not events:
        return {}
    traces = event_traces(events)
    people = [new_person(event, rules.ids.new(), trace) for event, trace in zip(events, traces, strict=True)]
    standings = await decide(rules, tx, people, rulebooks, now)
    arrivals = [(person, standings[person.person_id]) for person in people]
    new_keys, replaced = await rules.people.accept(tx, arrivals, now)
    by_key = {(person.customer, person.employee_id): (person, standing) for person, standing in arrivals}
    started = [by_key[key] for key in by_key if key in new_keys]
    changed = [(known, _standing(known, *by_key[known.customer, known.employee_id])) for known in replaced]
    await rules.people.place(tx, {known.person_id: standing for known, standing in changed}, now)
    # A plan that has not begun would wait for a start date that is no more; a plan under way is not started again.
    await rules.plans.withdraw(tx, [s.plan_id for _, s in changed if s.plan_id and is_outdated(s)], START_MOVED)
    started += [(known, standing) for known, standing in changed if known.plan_stage is None]
    await begin(rules, tx, started)
    return {(person.customer, person.employee_id): standing.plan_id for person, standing in [*started, *changed]}


def customer_unknown(customer: str) -> Refusal:
    """Why an event is kept as a dead letter until its customer exists."""
    return Refusal(
        "customer-unknown",
        f"There is no customer {customer!r}.",
        "Correct the customer in the event, or apply the customer's configuration; then replay the event.",
    )


def _newest(events: Sequence[HrEvent]) -> dict[PersonKey, HrEvent]:
    newest: dict[PersonKey, HrEvent] = {}
    for event in events:
        known = newest.get(event.person_key)
        if known is None or event.sequence > known.sequence:
            newest[event.person_key] = event
    return newest


def _standing(known: Person, arrived: Person, standing: Standing) -> Standing:
    if known.plan_stage is None:
        return standing
    return go_on(known, standing, start_moved=known.effective_date != arrived.effective_date)


def _reception(
    event: HrEvent,
    newest: dict[PersonKey, HrEvent],
    plans: dict[PersonKey, UUID | None],
    customers: Container[str],
) -> Reception:
    if event.customer not in customers:
        return Reception(event, "rejected", rejection=customer_unknown(event.customer))
    if newest[event.person_key] is not event or event.person_key not in plans:
        return Reception(event, "stale")
    return Reception(event, "accepted", plans[event.person_key])
