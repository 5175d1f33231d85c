"""The person as HR states it: one fact per sequence number, the newest wins.

Owns the HR fact and the flat attribute view that filter criteria read. Refuses to interpret it: site, profile and
desired state are decided elsewhere.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

from mesh_runtime.values import lean_dataclass

# The person fields of the HR event; all of them can be used in filter rows beside the customer's own `attributes`.
PERSON_FIELDS = (
    "given_name", "surname", "display_name", "job_title", "department", "company", "office", "city", "country",
    "manager_employee_id", "mobile_phone", "business_phone", "preferred_language",
)  # fmt: skip
_FIELDS = frozenset(PERSON_FIELDS)


@lean_dataclass(frozen=True, slots=True)
class HrEvent:
    """One HR event as admitted. `facts` is the event's `person` object with unknown fields kept."""

    source: str
    event_id: str
    kind: str  # "joined" | "changed"
    customer: str
    employee_id: str
    sequence: int
    effective_date: date | None
    facts: Mapping[str, Any]
    traceparent: str | None = None

    @property
    def person_key(self) -> tuple[str, str]:
        return self.customer, self.employee_id


def filter_attributes(facts: Mapping[str, Any], employee_id: str) -> dict[str, str]:
    """The attributes a filter row may name; a missing one reads as "" (the caller uses `.get(name, "")`).

    The event's own fields win over customer attributes of the same name.
    """
    attributes = {name: _text(value) for name, value in (facts.get("attributes") or {}).items() if value is not None}
    for name, value in facts.items():
        if name in _FIELDS and value is not None:
            attributes[name] = _text(value)
    attributes["employee_id"] = employee_id
    return attributes


def _text(value: Any) -> str:
    """HR systems send the same letter composed or decomposed; rules must not care."""
    text = str(value)
    return text if text.isascii() else normalize("NFC", text)


def starts_at(effective_date: date | None, time_zone: str, now: datetime) -> datetime | None:
    """Midnight of the start date at the person's site as UTC, or None when that moment has passed."""
    if effective_date is None:
        return None
    start = datetime.combine(effective_date, time.min, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
    return start if start > now else None
