"""Start the plans of people whose standing asks for one: look first, plan from what is seen.

Shared by intake, by tenants that become ready and by people whose facts changed while a plan was under way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from orchestrator.application.rules import Rules
from orchestrator.domain import naming
from orchestrator.domain.people import Person, Standing, stand
from orchestrator.domain.plan import Operation
from orchestrator.domain.ports import StartPlan
from orchestrator.domain.profile import Placement, Rulebook
from orchestrator.domain.reservations import candidates
from orchestrator.participants import graph

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def start_again(rules: Rules, tx: "AsyncConnection", people: Sequence[Person]) -> None:
    """Decide anew for people without a plan under way (locked by the caller), and start what follows."""
    if not people:
        return
    now = rules.clock.now()
    rulebooks = await rules.rulebooks.rulebooks(tx, {person.customer for person in people})
    standings = await decide(rules, tx, people, rulebooks, now)
    await rules.people.place(tx, {person.person_id: standings[person.person_id] for person in people}, now)
    await begin(rules, tx, [(person, standings[person.person_id]) for person in people])


async def decide(
    rules: Rules, tx: "AsyncConnection", people: Sequence[Person], rulebooks: Mapping[str, Rulebook], now: datetime
) -> Mapping[UUID, Standing]:
    """The standing of each person by these rules, which must hold every customer of theirs."""
    tenant_ids = {tenant_id for rulebook in rulebooks.values() for tenant_id in rulebook.tenants}
    ready = await rules.tenants.ready(tx, tenant_ids)
    return {
        person.person_id: stand(person, rulebooks[person.customer], ready=ready, plan_id=rules.ids.new(), now=now)
        for person in people
    }


async def begin(rules: Rules, tx: "AsyncConnection", started: Sequence[tuple[Person, Standing]]) -> None:
    """Hand the plans to the engine: refused ones with their reason, the others with what to look at first."""
    starting = [(person, standing) for person, standing in started if standing.starts_plan]
    if not starting:
        return
    reads = await first_reads(rules, tx, [(p, s.placement) for p, s in starting if s.placement is not None])
    await rules.plans.start(
        tx,
        [
            StartPlan(
                plan_id=standing.plan_id,
                person_id=person.person_id,
                customer=person.customer,
                tenant_id=standing.tenant_id or "",
                employee_id=person.employee_id,
                observe=reads.get(person.person_id),
                not_before=standing.not_before,
                traceparent=person.traceparent,
                refusal=standing.refusal,
            )
            for person, standing in starting
            if standing.plan_id is not None
        ],
    )


async def first_reads(
    rules: Rules, tx: "AsyncConnection", people: Sequence[tuple[Person, Placement]]
) -> dict[UUID, Operation]:
    """What to read of each person before planning, with the names that could be theirs."""
    named = []
    for person, placement in people:
        local, tenant = naming.local_part(placement.profile.upn, person.facts, person.employee_id), placement.tenant
        named.append((person, local, tenant.domain, (tenant.tenant_id, naming.upn_candidate(local, tenant.domain, 1))))
    occupied = await rules.ledgers.occupied(tx, {base for _, _, _, base in named})
    return {
        person.person_id: _observe(person, candidates(local, domain, occupied.get(base, ())))
        for person, local, domain, base in named
    }


def _observe(person: Person, names: list[str]) -> Operation:
    if person.upn is not None:
        names = [person.upn, *(name for name in names if name != person.upn)][: naming.CANDIDATE_COUNT_MAX]
    return graph.observe_user(person.employee_id, names, subject=person.upn or person.employee_id)
