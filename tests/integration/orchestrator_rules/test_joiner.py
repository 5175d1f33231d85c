"""Joiners from the HR event to the proof, and what happens when HR speaks again."""

from datetime import timedelta

from support.rules_customer import ALL_STAFF, E3, E5, VOICE_USERS, hr_event

READS = {"user.observe", "user.get", "exchange.mailbox.get", "teams.user.get", "tenant.observe"}


def writes(office):
    return [name for name in office.commands() if name not in READS]


async def joined(office, employee_id="NW-1", **person):
    await office.hr(hr_event(employee_id, **person))
    await office.run()
    found = await office.person(employee_id)
    assert found.status == "provisioned", found.refusal
    office.sent.clear()
    return found


async def test_a_joiner_is_created_licensed_called_and_proven(office):
    await office.open_business()
    [result] = await office.hr(hr_event())
    assert result.status == "accepted"
    await office.run()
    person = await office.person()
    assert person.status == "provisioned", person.refusal
    [user] = office.tenant.users.values()
    assert user["userPrincipalName"] == "zoe.muller@northwind.example"
    assert user["usageLocation"] == "CH"
    assert sorted(user["group_ids"]) == [ALL_STAFF, VOICE_USERS]
    assert [each["skuId"] for each in user["assignedLicenses"]] == [E5]
    assert office.tenant.teams[user["id"]]["LineURI"] == "tel:+41445551000"
    assert office.tenant.teams[user["id"]]["TenantDialPlan"] == "CH-Zurich"
    assert person.number == "+41445551000"
    assert {line.verdict for line in (await office.shown()).lines} == {"same"}


async def test_reservations_become_final_with_the_proof(office):
    await office.open_business()
    await joined(office)
    assert await office.rows("SELECT number, status FROM number WHERE person_id IS NOT NULL") == [
        ("+41445551000", "used")
    ]
    assert await office.rows("SELECT sku_id, state FROM seat_hold") == [(E5, "consumed")]
    assert await office.rows("SELECT upn, state FROM upn_reservation") == [("zoe.muller@northwind.example", "used")]


async def test_the_same_event_again_does_nothing(office):
    await office.open_business()
    await joined(office)
    [result] = await office.hr(hr_event())
    await office.run()
    assert result.status == "duplicate"
    assert office.sent == []


async def test_planning_again_after_success_is_an_empty_plan(office):
    await office.open_business()
    await joined(office)
    await office.hr(hr_event(sequence=2, kind="changed"))
    await office.run()
    assert office.commands() == ["user.observe"]
    assert (await office.person()).status == "provisioned"


async def test_a_change_plans_only_what_differs(office):
    await office.open_business()
    await joined(office, mobile_phone="+41791234567")
    await office.hr(hr_event(sequence=2, kind="changed", job_title="Lead", mobile_phone=None))
    await office.run()
    assert writes(office) == ["user.patch"]
    [user] = office.tenant.users.values()
    assert (user["jobTitle"], user["mobilePhone"]) == ("Lead", None)
    assert (await office.person()).status == "provisioned"


async def test_another_profile_swaps_licences_in_one_call_and_leaves_groups(office):
    await office.open_business()
    await joined(office)
    await office.hr(hr_event(sequence=2, kind="changed", department="Office"))
    await office.run()
    assert writes(office).count("licence.assign") == 1
    [user] = office.tenant.users.values()
    assert [each["skuId"] for each in user["assignedLicenses"]] == [E3]
    assert user["group_ids"] == [ALL_STAFF]
    assert (await office.person()).profile == "office"


async def test_a_user_with_the_same_employee_id_is_adopted(office):
    await office.open_business()
    user_id = office.tenant.add_user("z.mueller@northwind.example", "NW-1", accountEnabled=True)
    person = await joined(office)
    assert list(office.tenant.users) == [user_id]
    assert (person.upn, person.user_id) == ("z.mueller@northwind.example", user_id)
    assert office.tenant.users[user_id]["displayName"] == "Zoë Müller"


async def test_same_names_get_numbers_in_order_and_skip_what_the_tenant_has(office):
    await office.open_business()
    office.tenant.add_user("zoe.muller2@northwind.example", "somebody-else")
    await office.hr(*[hr_event(f"NW-{n}") for n in (1, 2, 3)])
    await office.run()
    assert [(await office.person(f"NW-{n}")).upn for n in (1, 2, 3)] == [
        "zoe.muller@northwind.example",
        "zoe.muller3@northwind.example",
        "zoe.muller4@northwind.example",
    ]


async def test_a_manager_who_comes_later_is_waited_for(office):
    await office.open_business()
    await office.hr(hr_event("NW-1", manager_employee_id="NW-9"))
    await office.answer()
    await office.answer()
    await office.hr(hr_event("NW-9", given_name="Ada", surname="Boss"))
    await office.run()
    boss, person = await office.person("NW-9"), await office.person("NW-1")
    assert (boss.status, person.status) == ("provisioned", "provisioned")
    assert office.tenant.users[person.user_id]["manager_id"] == boss.user_id


async def test_a_known_manager_is_set_without_waiting(office):
    await office.open_business()
    boss = await joined(office, "NW-9", given_name="Ada", surname="Boss")
    person = await joined(office, "NW-1", manager_employee_id="NW-9")
    assert office.tenant.users[person.user_id]["manager_id"] == boss.user_id


async def test_a_manager_who_never_comes_does_not_hold_the_joiner_up(office):
    await office.open_business()
    person = await joined(office, manager_employee_id="NW-404")
    assert office.tenant.users[person.user_id]["manager_id"] is None


async def test_a_future_joiner_waits_for_midnight_at_the_site(office):
    await office.open_business()
    await office.hr(hr_event(effective_date="2026-11-26"))
    await office.run()
    assert (await office.person()).status == "scheduled"
    assert office.tenant.users == {}
    # Midnight in Zürich is 23:00 UTC; the office opened at 08:00 UTC.
    office.clock.advance(timedelta(hours=15, seconds=1).total_seconds())
    await office.run()
    assert (await office.person()).status == "provisioned"


async def test_an_earlier_start_date_replaces_the_scheduled_plan(office):
    await office.open_business()
    await office.hr(hr_event(effective_date="2027-03-01"))
    await office.hr(hr_event(sequence=2, kind="changed", effective_date="2026-11-25"))
    await office.run()
    assert (await office.person()).status == "provisioned"
    states = await office.rows("SELECT state FROM plan ORDER BY created_at, plan_id")
    assert sorted(states) == [("cancelled",), ("succeeded",)]


async def test_what_cannot_be_finished_is_undone_and_nothing_stays_reserved(office):
    await office.open_business()
    office.tenant.refuses["teams.number.assign"] = "licence-missing"
    await office.hr(hr_event())
    await office.run()
    person = await office.person()
    assert (person.status, person.refusal["code"]) == ("compensated", "licence-missing")
    assert office.tenant.users == {}
    assert await office.rows("SELECT count(*) FROM number WHERE status <> 'available'") == [(0,)]
    assert await office.rows("SELECT count(*) FROM seat_hold") == [(0,)]
    assert await office.rows("SELECT count(*) FROM upn_reservation") == [(0,)]


async def test_news_during_a_plan_are_planned_after_it(office):
    await office.open_business()
    await office.hr(hr_event())
    await office.answer()
    assert (await office.person()).status == "provisioning"
    await office.hr(hr_event(sequence=2, kind="changed", job_title="Lead"))
    await office.run()
    [user] = office.tenant.users.values()
    assert user["jobTitle"] == "Lead"
    assert await office.rows("SELECT state, count(*) FROM plan GROUP BY state") == [("succeeded", 2)]


async def test_news_before_the_plan_is_made_need_no_second_plan(office):
    await office.open_business()
    await office.hr(hr_event())
    await office.hr(hr_event(sequence=2, kind="changed", job_title="Lead"))
    await office.run()
    [user] = office.tenant.users.values()
    assert user["jobTitle"] == "Lead"
    assert await office.rows("SELECT state FROM plan") == [("succeeded",)]


async def test_a_user_deleted_behind_our_back_is_made_again(office):
    await office.open_business()
    await joined(office)
    office.tenant.users.clear()
    await office.hr(hr_event(sequence=2, kind="changed"))
    await office.run()
    person = await office.person()
    assert person.status == "provisioned", person.refusal
    assert person.upn == "zoe.muller@northwind.example"
    assert person.number == "+41445551000"
