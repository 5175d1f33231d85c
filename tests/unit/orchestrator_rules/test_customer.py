"""The customer document: shapes, faults, rows, and who belongs where."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from orchestrator.domain.configuration import changes
from orchestrator.domain.customer import faults
from orchestrator.domain.ports import Refusal
from orchestrator.domain.profile import Placement, Rulebook
from orchestrator.wire.customer import CustomerDocument, from_rows, to_rows
from support.rules_customer import customer, document
from support.rules_plan import person

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "customers"


@pytest.mark.parametrize("name", ["northwind", "fabrikam"])
def test_the_example_customers_are_without_fault(name):
    given = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    for tenant in given["tenants"]:
        tenant["application"]["bootstrap_secret"] = {"value": "s"}
    assert faults(CustomerDocument.model_validate(given).to_domain()) == []


def test_a_document_survives_being_kept_as_rows():
    given = CustomerDocument.model_validate(document())
    back = from_rows("northwind", given.name, to_rows(given))
    assert back.to_domain() == given.to_domain()
    assert "first-secret" not in str(to_rows(given))
    assert changes(to_rows(given), to_rows(back)) == []


def test_a_secret_is_never_shown():
    given = CustomerDocument.model_validate(document())
    assert "first-secret" not in repr(given)
    assert "first-secret" not in given.model_dump_json()
    assert given.secrets() == {given.tenants[0].tenant_id: "first-secret"}


@pytest.mark.parametrize(
    ("part", "index", "change", "place"),
    [
        ("tenants", 0, {"tenant_id": "northwind"}, "tenant_id"),
        ("tenants", 0, {"cloud": "moon"}, "cloud"),
        ("sites", 0, {"usage_location": "Switzerland"}, "usage_location"),
        ("sites", 0, {"colour": "red"}, "colour"),
        ("numbers", 0, {"last": "+41445550000"}, "numbers"),
        ("numbers", 1, {"numbers": ["030 23125100"]}, "numbers"),
        ("numbers", 1, {"numbers": []}, "numbers"),
        ("filters", 0, {"rows": []}, "rows"),
        ("profiles", 0, {"number": "maybe"}, "number"),
    ],
)
def test_a_field_of_the_wrong_shape_is_named(part, index, change, place):
    given = document()
    given[part][index] |= change
    with pytest.raises(ValidationError) as caught:
        CustomerDocument.model_validate(given)
    assert place in {str(step) for error in caught.value.errors() for step in error["loc"]}


@pytest.mark.parametrize(
    ("part", "index", "change", "pointer"),
    [
        ("sites", 1, {"site": "zurich"}, "/sites/1/site"),
        ("sites", 0, {"time_zone": "Zurich"}, "/sites/0/time_zone"),
        ("sites", 0, {"move": "nowhere"}, "/sites/0/move"),
        ("numbers", 1, {"site": "oslo"}, "/numbers/1/site"),
        ("numbers", 1, {"numbers": ["+41445551003"]}, "/numbers/1"),
        ("numbers", 0, {"type": "CallingPlan", "site": "berlin"}, "/numbers/0/type"),
        ("profiles", 1, {"upn": "{nick}"}, "/profiles/1/upn"),
        ("flow_through", 0, {"filter": "in-berlin"}, "/flow_through/0/filter"),
    ],
)
def test_parts_that_do_not_fit_together_are_named(part, index, change, pointer):
    given = document()
    given[part][index] |= change
    found = faults(CustomerDocument.model_validate(given).to_domain())
    assert pointer in [fault.pointer for fault in found]


@pytest.mark.parametrize(
    ("facts", "site", "profile"),
    [
        ({}, "zurich", "voice"),
        ({"city": "ZURICH"}, "zurich", "voice"),
        ({"city": "Berlin", "department": "Office"}, "berlin", "office"),
        ({"department": "Sales and Office"}, "zurich", "voice"),
    ],
)
def test_site_and_profile_follow_the_rows(facts, site, profile):
    placed = Rulebook(customer(), 1).place(person(**facts).attributes)
    assert isinstance(placed, Placement)
    assert (placed.site.site, placed.profile.profile) == (site, profile)


def test_the_first_matching_row_wins():
    filters = document()["filters"]
    filters[3]["rows"] = [{"attribute": "surname", "condition": "regex", "value": "."}]
    placed = Rulebook(customer(filters=filters), 1).place(person().attributes)
    assert isinstance(placed, Placement)
    assert placed.profile.profile == "voice"


def test_customers_attributes_can_be_used_and_never_overrule_hrs_own():
    filters = document()["filters"]
    filters[1]["rows"] = [{"attribute": "cost_centre", "condition": "equals", "value": "B-7"}]
    rules = Rulebook(customer(filters=filters), 1)
    placed = rules.place(person(city=None, attributes={"cost_centre": "B-7"}).attributes)
    assert isinstance(placed, Placement)
    assert placed.site.site == "berlin"
    assert isinstance(rules.place(person(city="Oslo", attributes={"city": "Zürich"}).attributes), Refusal)
