"""From HR facts to the desired state, and what is missing of it."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.desired import as_json, difference
from orchestrator.domain.observed import Provisioned, observed_user, provisioned
from orchestrator.domain.ports import Refusal
from support.rules_customer import ALL_STAFF, E3, E5, VOICE_USERS
from support.rules_plan import desired, tenant_facts, wanted


def as_user(state, **changes):
    """The user a successful plan of this desired state leaves behind, as `user.observe` reads it."""
    return {
        "id": "u1",
        "userPrincipalName": "zoe.muller@northwind.example",
        "displayName": state.attributes["displayName"],
        "usageLocation": state.attributes["usageLocation"],
        "accountEnabled": True,
        "assignedLicenses": [
            {"skuId": licence.sku_id, "disabledPlans": sorted(licence.disabled_plans)} for licence in state.licences
        ],
        "group_ids": list(state.groups),
        "manager_id": None,
        **changes,
    }


def test_hr_facts_become_graph_attributes():
    state = desired(job_title="Lead", mobile_phone="+41791234567", office="A 3")
    assert state.attributes == {
        "displayName": "Zoë Müller",
        "givenName": "Zoë",
        "surname": "Müller",
        "jobTitle": "Lead",
        "department": "Sales",
        "officeLocation": "A 3",
        "city": "Zürich",
        "country": "CH",
        "mobilePhone": "+41791234567",
        "usageLocation": "CH",
        "accountEnabled": True,
        "preferredLanguage": "de-CH",
        "businessPhones": ["+41445550000"],
    }
    assert state.groups == {ALL_STAFF: "All Staff", VOICE_USERS: "Voice Users"}
    assert state.teams_policies == {"TenantDialPlan": "CH-Zurich", "TeamsCallingPolicy": "AllowCalling"}
    assert (state.has_mailbox, state.has_teams, state.wants_number) == (True, True, True)


def test_service_plans_are_disabled_by_name():
    [licence] = desired(department="Office").licences
    assert (licence.sku_id, licence.disabled_plans) == (E3, {"7547a3fe-08ee-4ccb-b430-5077c5041653"})


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        ({"licences": [{"sku": "SPE_E7"}]}, "licence-unknown"),
        ({"licences": [{"sku": "SPE_E5", "disabled_plans": ["NOPE"]}]}, "service-plan-unknown"),
        ({"groups": ["Nobody"]}, "group-unknown"),
        ({"groups": [], "licences": [{"sku": "SPE_E3"}]}, "phone-licence-missing"),
    ],
)
def test_what_the_tenant_lacks_is_refused_by_name(profile, code):
    refusal = wanted(profile=profile)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert refusal.remedy


def test_two_groups_of_one_name_are_refused_and_an_id_settles_it():
    twins = {"all staff": ((ALL_STAFF, "All Staff"), (VOICE_USERS, "All Staff"))}
    refusal = wanted(tenant=tenant_facts(groups=twins), profile={"groups": ["All Staff"]})
    assert isinstance(refusal, Refusal)
    assert refusal.code == "group-ambiguous"
    assert ALL_STAFF in (refusal.remedy or "")


def test_a_group_id_beyond_what_was_read_is_trusted():
    unknown = "99999999-0000-4000-8000-000000000009"
    state = wanted(tenant=tenant_facts(knows_all_groups=False), profile={"groups": [unknown]})
    assert not isinstance(state, Refusal)
    assert state.groups == {unknown: unknown}


def test_nobody_is_their_own_manager():
    assert desired(manager_employee_id="NW-1").manager is None
    assert desired(manager_employee_id="NW-2").manager == "NW-2"


def test_a_new_user_needs_everything():
    missing = difference(desired(), None, Provisioned(attributes={"displayName": "Zoë Müller"}))
    assert missing.is_new
    assert missing.attributes["displayName"] == "Zoë Müller"
    assert missing.seats == (E5,)
    assert missing.needs_number


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "job_title": st.text(min_size=1, max_size=20),
        "office": st.text(min_size=1, max_size=20),
        "mobile_phone": st.just("+41791234567"),
        "department": st.sampled_from(["Sales", "Sales EMEA", "Office"]),
        "city": st.sampled_from(["Zürich", "Berlin"]),
        "preferred_language": st.sampled_from(["de", "fr-CH"]),
    },
)


@given(FACTS)
def test_planning_again_after_success_finds_nothing_to_do(facts):
    state = desired(**facts)
    proved = provisioned(as_json(state), "+41445551000" if state.wants_number else None)
    assert difference(state, observed_user({"user": as_user(state)}), proved).is_empty


@given(FACTS, FACTS)
def test_a_change_plans_what_differs_and_then_nothing(before, after):
    old, new = desired(**before), desired(**after)
    number = "+41445551000" if old.wants_number or new.wants_number else None
    first = difference(new, observed_user({"user": as_user(old)}), provisioned(as_json(old), number))
    assert first.is_empty == (as_json(old) == as_json(new))
    assert {name for name, value in first.attributes.items() if value is None} <= set(old.attributes)
    again = difference(new, observed_user({"user": as_user(new)}), provisioned(as_json(new), number))
    assert again.is_empty


def test_what_hr_no_longer_states_is_cleared():
    old, new = desired(mobile_phone="+41791234567", business_phone="+41445551111"), desired()
    missing = difference(new, observed_user({"user": as_user(old)}), provisioned(as_json(old), "+41445551000"))
    assert missing.attributes == {"mobilePhone": None, "businessPhones": ["+41445550000"]}


def test_what_the_tenant_shows_wins_over_what_was_proved():
    state = desired()
    user = as_user(state, displayName="Renamed by hand", group_ids=[], assignedLicenses=[])
    missing = difference(state, observed_user({"user": user}), provisioned(as_json(state), "+41445551000"))
    assert missing.attributes == {"displayName": "Zoë Müller"}
    assert set(missing.add_groups) == {ALL_STAFF, VOICE_USERS}
    assert missing.seats == (E5,)
    assert not missing.needs_number


def test_licences_and_groups_of_others_are_left_alone():
    state = desired()
    user = as_user(state)
    user = deepcopy(user)
    user["assignedLicenses"].append({"skuId": "f00d", "disabledPlans": []})
    user["group_ids"].append("handmade")
    assert difference(state, observed_user({"user": user}), provisioned(as_json(state), "+41445551000")).is_empty
