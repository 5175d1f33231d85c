"""Seats, numbers and names under pressure: the last one, many at once, refused ones, tried again."""

import asyncio

import pytest

from mesh_runtime.errors import Conflict
from orchestrator.application import free_number, retry_plan
from orchestrator.domain.plan import Plan
from orchestrator.domain.ports import PlanningRequest, Refusal
from support.rules_customer import document, hr_event, observation

NOBODY = {"user": None, "taken": []}


async def observing(office, *employee_ids, **person):
    """Planning requests of people whose plans wait for what was observed."""
    for employee_id in employee_ids:
        await office.hr(hr_event(employee_id, **person))
    people = [await office.person(employee_id) for employee_id in employee_ids]
    return [PlanningRequest(person.plan_id, person.person_id, NOBODY) for person in people]


async def build(office, *requests):
    async with office.db.transaction() as tx:
        return await office.parts.engine.planner.build(tx, requests)


async def test_more_joiners_than_seats_are_refused_by_name_and_count(office):
    await office.open_business(SPE_E5=2)
    await office.hr(*[hr_event(f"NW-{n}") for n in range(1, 5)])
    await office.run()
    people = [await office.person(f"NW-{n}") for n in range(1, 5)]
    assert [person.status for person in people] == ["provisioned", "provisioned", "refused", "refused"]
    refusal = people[2].refusal
    assert refusal["code"] == "no-seats"
    assert "Licence pool SPE_E5 of tenant Northwind has no free seat: 2 bought" in refusal["message"]
    assert people[2].number is None


async def test_more_joiners_than_numbers_are_refused_with_site_and_range(office):
    await office.open_business()
    await office.hr(*[hr_event(f"NW-{n}", given_name=f"N{n}") for n in range(1, 8)])
    await office.run()
    people = [await office.person(f"NW-{n}") for n in range(1, 8)]
    assert [person.number for person in people[:5]] == [f"+4144555100{n}" for n in range(5)]
    refusal = people[6].refusal
    assert refusal["code"] == "no-numbers"
    assert "'zurich'" in refusal["message"]
    assert "+41445551000 to +41445551004" in refusal["message"]
    assert await office.rows("SELECT count(*) FROM seat_hold") == [(5,)]


async def test_a_refused_joiner_leaves_nothing_behind(office):
    await office.open_business(SPE_E5=0)
    [request] = await observing(office, "NW-1")
    answers = await build(office, request)
    assert isinstance(answers[request.plan_id], Refusal)
    assert await office.rows("SELECT count(*) FROM number WHERE status <> 'available'") == [(0,)]
    assert await office.rows("SELECT count(*) FROM upn_reservation") == [(0,)]


@pytest.mark.parametrize("seats", [1, 20])
async def test_two_at_once_never_get_the_last_one(office, seats):
    # With one seat they race for it; with twenty they race for Berlin's only number.
    await office.open_business(SPE_E5=seats)
    first, second = await observing(office, "NW-1", "NW-2", city="Berlin")
    answers = {}
    for answer in await asyncio.gather(build(office, first), build(office, second)):
        answers |= answer
    assert sorted(isinstance(answer, Plan) for answer in answers.values()) == [False, True]
    [refusal] = [answer for answer in answers.values() if isinstance(answer, Refusal)]
    assert refusal.code == ("no-seats" if seats == 1 else "no-numbers")


async def test_many_batches_at_once_share_seats_numbers_and_names_without_deadlock(office):
    numbers = [{"site": "zurich", "type": "DirectRouting", "first": "+41445551000", "last": "+41445551099"}]
    await office.open_business(document(numbers=numbers), SPE_E5=60)
    requests = await observing(office, *[f"NW-{n}" for n in range(80)])
    # Each batch holds the people in another order.
    batches = [requests[n::8] if n % 2 else requests[n::8][::-1] for n in range(8)]
    answers = {}
    for answer in await asyncio.gather(*[build(office, *batch) for batch in batches]):
        answers |= answer
    plans = [answer for answer in answers.values() if isinstance(answer, Plan)]
    assert len(plans) == 60
    assert len({plan.effects["number"] for plan in plans}) == 60
    assert len({plan.effects["upn"] for plan in plans}) == 60
    assert await office.rows("SELECT count(*) FROM seat_hold") == [(60,)]


async def test_planning_the_same_plan_again_replaces_its_reservations(office):
    await office.open_business()
    [request] = await observing(office, "NW-1")
    first = (await build(office, request))[request.plan_id]
    second = (await build(office, request))[request.plan_id]
    assert first.effects == second.effects
    assert await office.rows("SELECT number FROM number WHERE status = 'reserved'") == [("+41445551000",)]
    assert await office.rows("SELECT count(*) FROM seat_hold") == [(1,)]


async def test_a_refused_plan_succeeds_once_seats_were_bought(office):
    await office.open_business(SPE_E5=0)
    await office.hr(hr_event())
    await office.run()
    person = await office.person()
    assert person.status == "refused"
    office.tenant.holds = observation(SPE_E5=5)
    office.clock.advance(901)
    await office.run()
    await retry_plan(office.parts.engine, office.db, person.plan_id)
    await office.run()
    assert (await office.person()).status == "provisioned"


async def test_a_number_teams_refuses_is_set_aside_and_the_next_try_gets_another(office):
    await office.open_business()
    office.tenant.refuses["teams.number.assign"] = "number-taken"
    await office.hr(hr_event())
    await office.run()
    person = await office.person()
    assert person.status == "compensated"
    aside = "SELECT number, status, note IS NOT NULL FROM number WHERE status <> 'available'"
    assert await office.rows(aside) == [("+41445551000", "used", True)]
    office.tenant.refuses.clear()
    await retry_plan(office.parts.engine, office.db, person.plan_id)
    await office.run()
    assert (await office.person()).number == "+41445551001"
    async with office.db.transaction() as tx:
        await free_number(office.parts.rules, tx, "northwind", "+41445551000")
    with pytest.raises(Conflict):
        async with office.db.transaction() as tx:
            await free_number(office.parts.rules, tx, "northwind", "+41445551001")
    assert await office.rows(aside) == [("+41445551001", "used", False)]


async def test_seats_consumed_are_counted_once_after_the_tenant_was_read_again(office):
    await office.open_business(SPE_E5=2)
    await office.hr(hr_event())
    await office.run()
    held = "SELECT (SELECT count(*) FROM seat_hold), (SELECT consumed FROM seat_pool WHERE part_number = 'SPE_E5')"
    assert await office.rows(held) == [(1, 0)]
    seen = observation(SPE_E5=2)
    seen["skus"][0]["consumed"] = 1
    office.tenant.holds = seen
    office.clock.advance(1_000)
    await office.run()
    assert await office.rows(held) == [(0, 1)]


async def test_ten_names_taken_in_the_tenant_are_remembered_and_the_next_try_looks_further(office):
    await office.open_business()
    for n in ("", *range(2, 13)):
        office.tenant.add_user(f"zoe.muller{n}@northwind.example", f"old-{n}")
    await office.hr(hr_event())
    await office.run()
    person = await office.person()
    assert person.refusal["code"] == "names-taken"
    await retry_plan(office.parts.engine, office.db, person.plan_id)
    await office.run()
    assert (await office.person()).upn == "zoe.muller13@northwind.example"


async def test_a_name_that_is_somebodys_plain_name_is_not_given_as_a_number(office):
    template = document()["profiles"]
    template[0] |= {"upn": "{given}{employee_id}"}
    await office.open_business(document(profiles=template))
    await office.hr(hr_event("12", given_name="Ada"))
    await office.run()
    office.tenant.add_user("ada1@northwind.example", "somebody-else")
    await office.hr(hr_event("1", given_name="Ada"))
    await office.run()
    # "ada1" is taken in the tenant and "ada12" is the plain name of employee 12.
    assert (await office.person("1")).upn == "ada13@northwind.example"


async def test_what_the_token_may_not_do_is_refused_before_anything_is_written(office):
    await office.open_business()
    office.tenant.holds["capabilities"] = {
        "licence.assign": {"allowed": False, "missing": ["LicenseAssignment.ReadWrite.All"]}
    }
    office.clock.advance(901)
    await office.run()
    await office.hr(hr_event())
    await office.run()
    refusal = (await office.person()).refusal
    assert refusal["code"] == "permission-missing"
    assert "LicenseAssignment.ReadWrite.All" in refusal["remedy"]
    assert office.tenant.users == {}
