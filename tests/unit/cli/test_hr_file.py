"""HR files: every form becomes CloudEvents, ids are stable, and what cannot be read says what to change."""

import json
from pathlib import Path

import pytest

from ucmesh_cli.errors import CliError
from ucmesh_cli.hr_file import read_events

EXAMPLES = Path(__file__).parents[3] / "examples" / "hr"
HEADER = "event,employee_id,sequence,start_date,given_name,surname,city,badge\n"


def read(text: str, customer: str | None = "northwind") -> list[dict]:
    return list(read_events(text, customer))


def test_a_row_becomes_an_event_with_its_facts() -> None:
    (event,) = read(HEADER + "joined,NW-1,4,2027-01-04,Zoë,Müller,Zürich,\n")
    assert event["type"] == "ucmesh.hr.person.v1.joined"
    assert event["source"] == "/hr/northwind"
    assert event["subject"] == "NW-1"
    assert event["data"] == {
        "customer": "northwind",
        "employee_id": "NW-1",
        "sequence": 4,
        "effective_date": "2027-01-04",
        "person": {"given_name": "Zoë", "surname": "Müller", "city": "Zürich"},
    }


def test_unknown_columns_become_attributes_for_filters() -> None:
    (event,) = read(HEADER + "joined,NW-1,4,,Zoë,Müller,,B-77\n")
    assert event["data"]["person"]["attributes"] == {"badge": "B-77"}


def test_the_same_row_has_the_same_id_and_another_sequence_another() -> None:
    rows = "joined,NW-1,1,,A,B,,\njoined,NW-1,1,,A,B,,\njoined,NW-1,2,,A,B,,\nchanged,NW-1,1,,A,B,,\n"
    ids = [event["id"] for event in read(HEADER + rows)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("row", "field"),
    [("joined,NW-1,1,,A,,,\n", "surname"), ("joined,NW-1,1,,,B,,\n", "given_name")],
)
def test_a_row_that_lacks_something_is_sent_as_it_is(row: str, field: str) -> None:
    (event,) = read(HEADER + row)
    assert field not in event["data"]["person"]


def test_a_sequence_that_is_no_number_is_left_for_the_mesh_to_refuse() -> None:
    assert read(HEADER + "joined,NW-1,first,,A,B,,\n")[0]["data"]["sequence"] == "first"


def test_empty_lines_and_a_byte_order_mark_are_passed_over() -> None:
    assert len(read("\ufeff" + HEADER + "joined,NW-1,1,,A,B,,\n,,,,,,,\n")) == 1


def test_cloudevents_lines_pass_unchanged() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/hr/x", "type": "ucmesh.hr.person.v1.joined", "data": {}}
    assert read(json.dumps(event), customer=None) == [event]


def test_plain_data_lines_become_events() -> None:
    (event,) = read('{"employee_id": "FB-1", "sequence": 2, "event": "changed", "person": {}}', "fabrikam")
    assert event["type"] == "ucmesh.hr.person.v1.changed"
    assert event["data"] == {"customer": "fabrikam", "employee_id": "FB-1", "sequence": 2, "person": {}}


@pytest.mark.parametrize(
    ("text", "customer", "says"),
    [
        ("", "x", "empty"),
        ("a,b\n1,2\n", "x", "no column employee_id, given_name, surname"),
        (HEADER + "joined,NW-1,1,,A,B,,\n", None, "whose people"),
        ('{"employee_id": 1}\n', None, "whose person"),
        ('{"employee_id": 1}\n{broken\n', "x", "Line 2 is not JSON"),
        ("[1]\n", "x", "no JSON object"),
    ],
)
def test_an_unreadable_file_says_what_to_change(text: str, customer: str | None, says: str) -> None:
    with pytest.raises(CliError) as caught:
        read(text, customer)
    assert says in caught.value.message
    assert caught.value.next_step


def test_the_example_feeds_hold_at_least_forty_people_and_all_their_troubles() -> None:
    northwind = read((EXAMPLES / "northwind.csv").read_text("utf-8"))
    fabrikam = read((EXAMPLES / "fabrikam.jsonl").read_text("utf-8"), None)
    people = {(event["source"], event["subject"]) for event in northwind + fabrikam}
    assert len(people) >= 40
    assert len({event["id"] for event in northwind + fabrikam}) == len(northwind) + len(fabrikam) - 2
