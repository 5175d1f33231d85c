"""HR files as CloudEvents: CSV, JSON lines of event data, or JSON lines of CloudEvents.

Owns: reading, and ids. A row's event id is made from customer, employee, event and sequence, so the same file sent
twice is the same events. Refuses to judge: a row that is wrong is sent as it is, and the mesh dead-letters it with its
reason.
"""

import csv
import io
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from ucmesh_cli.errors import CliError

TYPE_PREFIX = "ucmesh.hr.person.v1."
EVENT_COLUMNS = ("event", "employee_id", "sequence", "start_date")
PERSON_COLUMNS = (
    "given_name",
    "surname",
    "display_name",
    "job_title",
    "department",
    "company",
    "office",
    "city",
    "country",
    "manager_employee_id",
    "mobile_phone",
    "business_phone",
    "preferred_language",
)
NAMESPACE = uuid.UUID("0f1b6f0a-55a1-5c0e-9f0c-7c6f0f6d2a31")

Event = dict[str, Any]


def read_events(text: str, customer: str | None) -> Iterator[Event]:
    """Events in the file's order. CliError for a file that is neither format or lacks what every row needs."""
    body = text.removeprefix("\ufeff")
    if not body.strip():
        raise CliError("The file is empty.", "Send a CSV file with a header line, or JSON lines.")
    if body.lstrip()[0] in "{[":
        yield from _json_lines(body, customer)
    else:
        yield from _csv(body, customer)


def _csv(text: str, customer: str | None) -> Iterator[Event]:
    reader = csv.DictReader(io.StringIO(text))
    columns = list(reader.fieldnames or ())
    missing = [name for name in ("employee_id", "given_name", "surname") if name not in columns]
    if missing:
        raise CliError(
            f"The header line has no column {', '.join(missing)}.",
            f"Name the columns as in examples/hr: {', '.join((*EVENT_COLUMNS, *PERSON_COLUMNS))}. "
            "Any other column becomes an attribute that filters can use.",
        )
    if customer is None:
        raise CliError("A CSV file does not say whose people these are.", "Add --customer NAME.")
    for row in reader:
        if any(row.values()):
            yield _event(_row_data(row, customer), (row.get("event") or "joined").strip())


def _row_data(row: Mapping[str, Any], customer: str) -> dict[str, Any]:
    clean = {name: value.strip() for name, value in row.items() if name and isinstance(value, str) and value.strip()}
    person: dict[str, Any] = {name: clean[name] for name in PERSON_COLUMNS if name in clean}
    others = {name: value for name, value in clean.items() if name not in (*EVENT_COLUMNS, *PERSON_COLUMNS)}
    if others:
        person["attributes"] = others
    data: dict[str, Any] = {"customer": customer, "employee_id": clean.get("employee_id", ""), "person": person}
    data["sequence"] = _number(clean.get("sequence", "0"))
    if "start_date" in clean:
        data["effective_date"] = clean["start_date"]
    return data


def _number(text: str) -> int | str:
    """What is no number stays as it is: the mesh says so, with the row's place in the dead letters."""
    return int(text) if text.isdecimal() else text


def _json_lines(text: str, customer: str | None) -> Iterator[Event]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise CliError(f"Line {number} is not JSON: {error}.", "Each line must be one JSON object.") from error
        for each in document if isinstance(document, list) else [document]:
            yield _from_json(each, number, customer)


def _from_json(document: Any, number: int, customer: str | None) -> Event:
    if not isinstance(document, dict):
        raise CliError(f"Line {number} is no JSON object.", "Each line must be an event or an event's data.")
    if "specversion" in document:
        return document
    data = {"customer": customer, **document} if customer else dict(document)
    action = str(data.pop("event", "joined"))
    if not data.get("customer"):
        raise CliError(
            f"Line {number} does not say whose person this is.", "Add --customer NAME, or `customer` to the line."
        )
    return _event(data, action)


def _event(data: Mapping[str, Any], action: str) -> Event:
    customer, employee_id = data.get("customer"), data.get("employee_id")
    name = f"{customer}|{employee_id}|{action}|{data.get('sequence')}"
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid5(NAMESPACE, name)),
        "source": f"/hr/{customer}",
        "type": TYPE_PREFIX + action,
        "subject": str(employee_id),
        "datacontenttype": "application/json",
        "data": dict(data),
    }
