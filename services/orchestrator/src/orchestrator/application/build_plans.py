"""Plan people from what was observed, and say what to observe when a plan is tried again (the engine's Planner).

One batch, one pass: load people and rules, draft, then under the tenants' ledger locks choose seats, numbers and names
for all drafts in order, and write the reservations in a few statements. Everything a plan needs is reserved before its
first write in the tenant, or the plan is refused and nothing of it stays behind.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from mesh_runtime.errors import Unavailable
from orchestrator.application.rules import Rules
from orchestrator.application.start_people import decide, first_reads
from orchestrator.domain.desired import as_json
from orchestrator.domain.drafting import Draft, claim, draft, shortage_refusal, stored
from orchestrator.domain.observed import TenantFacts
from orchestrator.domain.people import PROVISIONING, SCHEDULED, Person, Standing
from orchestrator.domain.plan import Plan
from orchestrator.domain.ports import Observation, ObservationRequest, PlanningRequest, Refusal
from orchestrator.domain.profile import Placement, Rulebook
from orchestrator.domain.reservations import Claim, NoName, NoNumbers, Reservation, Shortage
from orchestrator.domain.stores import NOTHING_KEPT, PersonKey
from orchestrator.plans.joiner import Joiner, joiner

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

CHOICE_ROUNDS_MAX = 10

Chosen = dict[UUID, tuple[Claim, Reservation]]


class BuildPlans:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def build(self, tx: "AsyncConnection", requests: Sequence[PlanningRequest]) -> Mapping[UUID, Plan | Refusal]:
        """A plan or a refusal for each request, by plan id."""
        now = self._rules.clock.now()
        drafts, refusals = await self._draft(tx, requests, now)
        chosen, shortages = await self._reserve(tx, drafts, now)
        refusals |= shortages
        await self._rules.ledgers.release(tx, refusals.keys(), now)
        planned = [each for each in drafts if each.request.plan_id not in refusals]
        plans = {each.request.plan_id: self._plan(each, chosen.get(each.request.plan_id)) for each in planned}
        await self._rules.people.planned(tx, [_note(each, plans[each.request.plan_id]) for each in planned], now)
        return {**plans, **refusals}

    async def observe(
        self, tx: "AsyncConnection", requests: Sequence[ObservationRequest]
    ) -> Mapping[UUID, Observation | Refusal]:
        """What to read first, by today's facts and rules, for plans that are tried again."""
        now = self._rules.clock.now()
        people, rulebooks = await self._load(tx, {request.person_id for request in requests})
        standings = await decide(self._rules, tx, list(people.values()), rulebooks, now)
        answers: dict[UUID, Observation | Refusal] = {}
        started: dict[UUID, tuple[Person, Standing]] = {}
        for request in requests:
            person, standing = people[request.person_id], standings[request.person_id]
            refusal = _retry_refusal(person, standing, request.plan_id)
            if refusal is not None:
                answers[request.plan_id] = refusal
            elif standing.placement is not None:
                started[request.plan_id] = (person, standing)
        reads = await first_reads(
            self._rules, tx, [(p, s.placement) for p, s in started.values() if s.placement is not None]
        )
        placed = {p.person_id: replace(standing, plan_id=plan_id) for plan_id, (p, standing) in started.items()}
        await self._rules.people.place(tx, placed, now)
        for plan_id, (person, standing) in started.items():
            observe = reads[person.person_id]
            answers[plan_id] = Observation(standing.tenant_id or "", observe, standing.not_before)
        return answers

    async def _load(
        self, tx: "AsyncConnection", person_ids: Collection[UUID]
    ) -> tuple[dict[UUID, Person], Mapping[str, Rulebook]]:
        people = {person.person_id: person for person in await self._rules.people.load(tx, person_ids)}
        return people, await self._rules.rulebooks.rulebooks(tx, {person.customer for person in people.values()})

    async def _draft(
        self, tx: "AsyncConnection", requests: Sequence[PlanningRequest], now: datetime
    ) -> tuple[list[Draft], dict[UUID, Refusal]]:
        people, rulebooks = await self._load(tx, {request.person_id for request in requests})
        refusals: dict[UUID, Refusal] = {}
        placed: list[tuple[PlanningRequest, Person, Placement]] = []
        for request in requests:
            person = people[request.person_id]
            placement = _place(person, rulebooks[person.customer])
            if isinstance(placement, Refusal):
                refusals[request.plan_id] = placement
            else:
                placed.append((request, person, placement))
        facts = await self._rules.tenants.facts(tx, _wanted_groups(placed))
        managers = await self._rules.people.users(tx, {key for _, person, _ in placed if (key := _manager_key(person))})
        await self._rules.ledgers.lock(tx, sorted({placement.tenant.tenant_id for _, _, placement in placed}))
        # Only who was planned before can hold anything.
        kept = await self._rules.ledgers.kept(tx, {p.person_id for _, p, _ in placed if p.upn is not None})
        drafts: list[Draft] = []
        for request, person, placement in placed:
            drafted = draft(
                request,
                person,
                placement,
                tenant=facts.get(placement.tenant.tenant_id, TenantFacts(placement.tenant.tenant_id, {})),
                kept=kept.get(person.person_id, NOTHING_KEPT),
                manager_id=managers.get(_manager_key(person) or ("", ""), (None, ""))[0],
                now=now,
            )
            if isinstance(drafted, Refusal):
                refusals[request.plan_id] = drafted
            else:
                drafts.append(drafted)
        return drafts, refusals

    async def _reserve(
        self, tx: "AsyncConnection", drafts: Sequence[Draft], now: datetime
    ) -> tuple[Chosen, dict[UUID, Refusal]]:
        """Choose for all drafts that need something, write what was chosen; the ledgers are locked."""
        claims = {each.request.plan_id: claim(each) for each in drafts if not each.difference.is_empty}
        by_plan = {each.request.plan_id: each for each in drafts}
        wrong_site = {each.person.person_id for each in drafts if each.kept.number and not each.keeps_number}
        await self._rules.ledgers.give_back_numbers(tx, wrong_site, now)
        chosen, short = await self._choose(tx, list(claims.values()))
        await self._rules.ledgers.reserve(tx, list(chosen.values()), now)
        sites = {(s.customer, s.site) for s in short.values() if isinstance(s, NoNumbers)}
        shelves = await self._rules.ledgers.shelves(tx, sites)
        taken = [(claims[p].tenant_id, name) for p, s in short.items() if isinstance(s, NoName) for name in s.taken]
        await self._rules.ledgers.note_taken(tx, taken)
        return chosen, {p: shortage_refusal(shortage, by_plan[p], shelves) for p, shortage in short.items()}

    async def _choose(self, tx: "AsyncConnection", claims: Sequence[Claim]) -> tuple[Chosen, dict[UUID, Shortage]]:
        """Decide claim by claim; again when a name turns out to be somebody's under another rule."""
        foreign: set[tuple[str, str]] = set()
        for _ in range(CHOICE_ROUNDS_MAX):
            ledger = await self._rules.ledgers.open(tx, claims)
            ledger.reserved.update(foreign)
            verdicts = {each.plan_id: (each, ledger.reserve(each)) for each in claims}
            chosen = {p: (each, got) for p, (each, got) in verdicts.items() if isinstance(got, Reservation)}
            others = await self._rules.ledgers.names_of_others(tx, list(chosen.values()))
            if not others:
                short = {p: got for p, (_, got) in verdicts.items() if not isinstance(got, Reservation)}
                return chosen, short
            foreign |= others
        raise Unavailable("no free sign-in names were found in time", code="names-contended")

    def _plan(self, drafted: Draft, reserved: tuple[Claim, Reservation] | None) -> Plan:
        person, placement, user = drafted.person, drafted.placement, drafted.difference.user
        reservation = reserved[1] if reserved else None
        upn = user.upn if user else reservation.upn.upn if reservation else person.upn or ""
        number = (reservation.number if reservation else None) or (
            drafted.kept.number if drafted.keeps_number else None
        )
        return joiner(
            Joiner(
                plan_id=drafted.request.plan_id,
                person_id=person.person_id,
                customer=person.customer,
                tenant_id=placement.tenant.tenant_id,
                employee_id=person.employee_id,
                upn=upn,
                site=placement.site.site,
                profile=placement.profile.profile,
                desired=drafted.desired,
                difference=drafted.difference,
                proved_policies=(person.provisioned or {}).get("teams_policies") or {},
                number=number,
                manager_id=drafted.manager_id,
                lane=drafted.request.lane,
                not_before=drafted.not_before,
            ),
            self._rules.pacing,
        )


def _place(person: Person, rulebook: Rulebook) -> Placement | Refusal:
    """Today's placement; what was observed in one tenant is no ground for a plan in another."""
    placement = rulebook.place(person.attributes)
    if isinstance(placement, Placement) and placement.tenant.tenant_id != person.tenant_id:
        return Refusal(
            "tenant-changed",
            f"The person now belongs to site {placement.site.site!r} in another tenant than the one observed.",
            "Retry this plan.",
        )
    return placement


def _wanted_groups(placed: Sequence[tuple[PlanningRequest, Person, Placement]]) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = {}
    for _, _, placement in placed:
        wanted.setdefault(placement.tenant.tenant_id, set()).update(placement.profile.groups)
    return wanted


def _manager_key(person: Person) -> PersonKey | None:
    manager = person.facts.get("manager_employee_id")
    return (person.customer, str(manager)) if manager else None


def _note(drafted: Draft, plan: Plan) -> tuple[UUID, str, dict[str, object], Standing]:
    person, placement = drafted.person, drafted.placement
    status = SCHEDULED if drafted.not_before else PROVISIONING
    standing = Standing(
        status,
        placement.site.site,
        placement.profile.profile,
        placement.tenant.tenant_id,
        plan_id=drafted.request.plan_id,
        plan_stage="planned",
    )
    return (
        person.person_id,
        str(plan.effects["upn"]),
        stored(as_json(drafted.desired), plan.effects["number"]),
        standing,
    )


def _retry_refusal(person: Person, standing: Standing, plan_id: UUID) -> Refusal | None:
    if person.plan_stage is not None and person.plan_id != plan_id:
        return Refusal(
            "superseded",
            f"A newer plan of this person is under way ({person.plan_id}).",
            "Look at the newer plan; retry this one only after it has ended.",
        )
    if standing.refusal is not None:
        return standing.refusal
    if standing.plan_stage is None:
        return Refusal(
            "tenant-not-ready",
            f"Tenant {standing.tenant_id} has no working certificate yet, or was not read yet.",
            "Look at the tenant's state and reason; retry this plan once it is ready.",
        )
    return None
