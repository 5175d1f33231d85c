"""The n-th failure: whatever breaks while HR events are taken in or a customer is applied, asking again ends the same.

Goal: no fault point between the first statement and the answer loses an event or does it twice. Method: record the
points of an undisturbed run, then fail at each in turn and repeat the request as a caller would.
"""

from collections import Counter

import pytest

from mesh_runtime import faults
from support.rules_customer import document, hr_event
from support.rules_office import open_office

EVENTS = [hr_event(f"NW-{n}", given_name=f"N{n}") for n in range(3)] + [hr_event("NW-9", city="Oslo")]


async def outcome(office):
    await office.run()
    people = await office.rows("SELECT employee_id, status, upn, refusal->>'code' FROM person ORDER BY employee_id")
    numbers = await office.rows("SELECT number, status FROM number ORDER BY number")
    plans = await office.rows("SELECT state, count(*) FROM plan GROUP BY state ORDER BY state")
    return people, numbers, plans, sorted(user["userPrincipalName"] for user in office.tenant.users.values())


async def with_fault(name, hit, request):
    """Fail at the hit-th `name`, then ask again as after a lost answer."""
    with faults.inject(name, hit):
        try:
            await request()
        except faults.FaultInjected:
            await request()


async def points_of(request):
    with faults.recording() as hits:
        await request()
        return list(hits)


@pytest.mark.parametrize("what", ["intake", "configuration"])
async def test_failing_at_every_point_and_asking_again_ends_as_if_nothing_had_happened(postgres_url, what):
    async def story(office, step):
        """Everything up to the request under test, which `step` makes; then to the end."""
        if what == "configuration":
            await step(office.apply)
            await office.open_business()
            await office.hr(*EVENTS)
        else:
            await office.open_business(document())
            await step(lambda: office.hr(*EVENTS))
        return await outcome(office)

    office = await open_office(postgres_url)
    hits = []

    async def record(request):
        hits.extend(await points_of(request))

    expected = await story(office, record)
    await office.db.close()
    assert len(hits) >= 4
    seen = Counter()
    for name in hits:
        seen[name] += 1
        office = await open_office(postgres_url)
        found = await story(office, lambda request, at=(name, seen[name]): with_fault(*at, request))
        await office.db.close()
        assert found == expected, f"after {name} number {seen[name]}"
