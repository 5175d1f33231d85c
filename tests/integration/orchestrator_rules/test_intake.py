"""HR events at both doors: stale, broken, unknown, early; and people whose place is unclear."""

import asyncio
from datetime import timedelta

import orjson
import pytest

from mesh_messaging import deadletters
from mesh_messaging.batch import Batches
from mesh_messaging.binding_kafka import to_headers
from mesh_messaging.ladder import RetryLadder
from mesh_messaging.ladder_timer import LadderTimer
from mesh_messaging.message import read_delivery
from mesh_messaging.records import RawRecord
from mesh_runtime import telemetry
from mesh_runtime.errors import InvalidInput
from orchestrator.application import retry_plan
from orchestrator.entrypoints.hr_door import Bad
from support.plan_mesh import counted
from support.rules_customer import document, hr_data, hr_event
from support.waiting import eventually


def broken(employee_id="NW-9", **data):
    """An event whose data is off the contract: the surname is a number."""
    given = hr_data(employee_id) | data
    given["person"]["surname"] = 7
    event = hr_event(employee_id)
    return type(event)(**{**{name: getattr(event, name) for name in event.__slots__}, "data": orjson.dumps(given)})


async def letters(office):
    async with office.db.read() as tx:
        return await deadletters.list_page(tx)


async def test_an_older_event_is_remembered_and_ignored(office):
    await office.open_business()
    await office.hr(hr_event(sequence=5, job_title="Lead"))
    [result] = await office.hr(hr_event(sequence=4, kind="changed", job_title="Trainee"))
    assert result.status == "accepted"
    assert result.reason
    assert (await office.person()).facts["job_title"] == "Lead"
    outcomes = await office.rows("SELECT sequence, outcome FROM hr_event ORDER BY sequence")
    assert outcomes == [(4, "stale"), (5, "accepted")]


async def test_the_newest_of_a_batch_counts_whatever_its_place(office):
    await office.open_business()
    await office.hr(
        hr_event(sequence=3, kind="changed", job_title="Lead"),
        hr_event(sequence=1),
        hr_event(sequence=2, kind="changed"),
    )
    await office.run()
    assert (await office.person()).facts["job_title"] == "Lead"
    assert await office.rows("SELECT count(*) FROM plan") == [(1,)]


async def test_the_same_event_twice_in_a_batch_counts_once(office):
    await office.open_business()
    results = await office.hr(hr_event(), hr_event())
    assert [result.status for result in results] == ["accepted", "duplicate"]


async def test_a_single_bad_event_is_answered_and_not_kept(office):
    await office.open_business()
    with pytest.raises(InvalidInput, match="/person/surname"):
        await office.hr(broken())
    assert await letters(office) == []


async def test_a_bad_event_of_a_batch_costs_only_itself(office):
    await office.open_business()
    envelope = Bad(None, b'{"specversion": "1.0"}', InvalidInput("attribute id is missing"))
    results = await office.hr(hr_event("NW-1"), broken("NW-2"), envelope, hr_event("NW-3", customer="contoso"))
    assert [result.status for result in results] == ["accepted", "dead-lettered", "dead-lettered", "dead-lettered"]
    assert "7" not in results[1].reason.replace("NW-7", "")
    kept = {letter.id: letter for letter in await letters(office)}
    assert [kept[result.dead_letter_id].reason_code for result in results[1:]] == [
        "hr-event-invalid",
        "invalid-input",
        "customer-unknown",
    ]


async def test_the_same_batch_again_changes_nothing(office):
    await office.open_business()
    await office.hr(hr_event("NW-1"), broken("NW-2"))
    results = await office.hr(hr_event("NW-1"), broken("NW-2"))
    assert [result.status for result in results] == ["duplicate", "dead-lettered"]
    assert len(await letters(office)) == 1


async def replay(office, letter_id, data=None):
    """Put a dead letter back and let the ladder carry it through the real handlers."""
    async with office.db.transaction() as tx:
        await deadletters.replay(tx, letter_id, actor="test", data=data, clock=office.clock)
    timer = LadderTimer(
        office.db,
        name="orchestrator",
        handlers=office.handlers,
        retry=RetryLadder(),
        clock=office.clock,
        inbox_keep=timedelta(days=30),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(timer.run(stop))
    await eventually(lambda: _settled(office, letter_id), what="the letter is handled")
    stop.set()
    await running


async def _settled(office, letter_id):
    async with office.db.read() as tx:
        return (await deadletters.get(tx, letter_id)).state != "replaying"


async def test_a_repaired_event_is_replayed_into_a_joiner(office):
    await office.open_business()
    results = await office.hr(hr_event("NW-1"), broken("NW-2"))
    await replay(office, results[1].dead_letter_id, orjson.dumps(hr_data("NW-2")))
    await office.run()
    assert (await office.person("NW-2")).status == "provisioned"


async def test_an_event_of_an_unknown_customer_is_replayed_once_the_customer_exists(office):
    await office.open_business()
    contoso = document(customer="contoso")
    contoso["tenants"][0]["tenant_id"] = "c41e7b90-5d2c-4f0a-a3b8-90e1f2d3c4b5"
    for site in contoso["sites"]:
        site["tenant"] = "c41e7b90-5d2c-4f0a-a3b8-90e1f2d3c4b5"
    early = hr_event("CO-1", customer="contoso")
    results = await office.hr(hr_event("NW-1"), early)
    await office.open_business(contoso)
    await replay(office, results[1].dead_letter_id)
    await office.run()
    assert (await office.person("CO-1", "contoso")).status == "provisioned"


async def test_kafka_keeps_bad_events_aside_and_takes_the_rest_in_one_transaction(office):
    await office.open_business()
    batches = Batches(office.db, name="orchestrator", handlers=office.handlers, retry=RetryLadder(), clock=office.clock)
    events = [hr_event("NW-1"), broken("NW-2"), hr_event("NW-3", customer="contoso"), hr_event("NW-4")]
    deliveries = [
        read_delivery(
            RawRecord("ucmesh.hr.lifecycle.v1", 0, offset, b"k%d" % offset, tuple(to_headers(event)), event.data),
            office.clock.now(),
        )
        for offset, event in enumerate(events)
    ]
    assert await batches.settle(deliveries, asyncio.Event())
    await office.run()
    assert [(await office.person(key)).status for key in ("NW-1", "NW-4")] == ["provisioned", "provisioned"]
    assert sorted(letter.reason_code for letter in await letters(office)) == ["customer-unknown", "hr-event-invalid"]


@pytest.mark.parametrize(
    ("person", "code"),
    [
        ({"city": "Oslo"}, "site-unknown"),
        ({"department": "Research"}, "profile-unknown"),
        ({"city": None}, "site-unknown"),
    ],
)
async def test_people_the_rules_do_not_know_become_refused_plans(office, person, code):
    await office.open_business()
    [result] = await office.hr(hr_event(**person))
    await office.run()
    shown = await office.person()
    assert result.status == "accepted"
    assert (shown.status, shown.refusal["code"]) == ("refused", code)
    assert shown.refusal["remedy"]
    assert await office.rows("SELECT state FROM plan") == [("refused",)]
    assert office.tenant.users == {}


async def test_two_sites_are_refused_and_tried_again_after_the_rules_were_corrected(office):
    filters = document()["filters"]
    filters[1]["rows"] = [{"attribute": "country", "condition": "equals", "value": "CH"}]
    await office.open_business(document(filters=filters))
    await office.hr(hr_event())
    person = await office.person()
    assert person.refusal["code"] == "site-ambiguous"
    assert "'zurich' and 'berlin'" in person.refusal["message"]
    await office.apply()
    await retry_plan(office.parts.engine, office.db, person.plan_id)
    await office.run()
    assert (await office.person()).status == "provisioned"


async def test_people_wait_for_their_tenant_and_start_when_it_is_ready(office):
    await office.apply()
    await office.hr(*[hr_event(f"NW-{n}") for n in range(3)])
    await office.answer()
    assert (await office.person("NW-0")).status == "waiting"
    assert await office.rows("SELECT count(*) FROM plan") == [(0,)]
    await office.open_business()
    await office.run()
    assert [(await office.person(f"NW-{n}")).status for n in range(3)] == ["provisioned"] * 3


async def test_decomposed_letters_match_the_same_rules(office):
    await office.open_business()
    await office.hr(hr_event(city="Zu\u0308rich"))
    assert (await office.person()).site == "zurich"


async def test_a_batch_of_a_hundred_takes_as_many_statements_as_one(office):
    await office.open_business()
    await office.hr(hr_event("NW-0"))
    counts = {}
    for size in (1, 100):
        events = [hr_event(f"NW-{size}-{n}") for n in range(size)]
        with counted(office.db) as statements:
            await office.hr(*events)
        counts[size] = len(statements)
    assert counts[1] == counts[100] <= 12


async def test_every_event_of_many_is_a_trace_of_its_own(office):
    await office.open_business()
    with telemetry.recording() as spans, telemetry.span("request"):
        await office.hr(hr_event("NW-1"), hr_event("NW-2"))
    [request] = spans.named("request")
    events = {span.attributes["ucmesh.employee.id"]: span for span in spans.named("hr.event")}
    plans = {span.attributes["ucmesh.employee.id"]: span for span in spans.named("plan.start")}
    assert events.keys() == plans.keys() == {"NW-1", "NW-2"}
    assert len({span.context.trace_id for span in (request, *events.values())}) == 3
    for employee_id, event in events.items():
        assert event.parent is None
        assert [link.context.trace_id for link in event.links] == [request.context.trace_id]
        assert plans[employee_id].parent.span_id == event.context.span_id
