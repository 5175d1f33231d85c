"""HR events off the wire: what is taken, what is refused and how the refusal reads."""

from pathlib import Path

import orjson
import pytest

from mesh_runtime.errors import InvalidInput
from orchestrator import wire
from support.rules_customer import hr_data, hr_event

EXAMPLES = Path(__file__).resolve().parents[3] / "contracts" / "examples"


def examples(kind):
    found = sorted((EXAMPLES / kind).glob("*.json"))
    assert found, f"{kind} has no examples"
    return found


def read(data):
    return wire.hr_event_of(orjson.dumps(data), source="/hr/northwind", event_id="1", kind="joined")


@pytest.mark.parametrize("kind", ["joined", "changed"])
def test_every_example_of_the_contract_is_understood(kind):
    for example in examples(f"ucmesh.hr.person.v1.{kind}"):
        assert read(orjson.loads(example.read_bytes())).facts["surname"]


@pytest.mark.parametrize("action", ["activated", "failed"])
def test_every_example_of_credential_news_is_understood(action):
    kind = f"ucmesh.certs.credential.v1.{action}"
    for example in examples(kind):
        event = hr_event()
        event = type(event)(
            id="1", source="/c", type=kind, time=event.time, subject=None, tenant=None, data=example.read_bytes()
        )
        assert wire.credential_news(event).works is (action == "activated")


def test_unknown_fields_are_kept():
    data = hr_data()
    data["person"]["shoe_size"] = 38
    assert read(data).facts["shoe_size"] == 38


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"sequence": -1}, "/sequence"),
        ({"sequence": "7"}, "/sequence"),
        ({"sequence": 2**63}, "/sequence"),
        ({"effective_date": "2026-13-01"}, "/effective_date"),
        ({"effective_date": 20000}, "/effective_date"),
        ({"effective_date": "0001-01-01"}, "/effective_date"),
        ({"employee_id": "NW\n1"}, "/employee_id"),
        ({"customer": "North Wind"}, "/customer"),
        ({"employee_id": ""}, "/employee_id"),
        ({"person": None}, "/person"),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not_shown(change, place):
    with pytest.raises(InvalidInput) as caught:
        read(hr_data() | change)
    assert place in caught.value.message
    assert "North Wind" not in caught.value.message


def test_every_bad_field_is_named_at_once():
    with pytest.raises(InvalidInput) as caught:
        read({"customer": "northwind", "person": {"given_name": "Zoë", "country": "Schweiz"}})
    for place in ("/employee_id", "/sequence", "/person/surname", "/person/country"):
        assert place in caught.value.message


def test_a_nul_character_is_refused_wherever_it_is_and_a_backslash_is_not():
    with pytest.raises(InvalidInput, match="NUL"):
        read(hr_data(attributes={"note": "a\x00b"}))
    with pytest.raises(InvalidInput, match="NUL"):
        read(hr_data() | {"customer\x00": 1})
    assert read(hr_data(attributes={"note": "a\\u0000b"})).facts["attributes"]["note"] == "a\\u0000b"


def test_another_type_is_no_hr_event():
    event = hr_event(kind="left")
    with pytest.raises(InvalidInput, match="not an HR event"):
        wire.hr_event(event)
