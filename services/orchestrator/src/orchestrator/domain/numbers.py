"""Telephone numbers: which a range holds and which states one goes through.

    available -> reserved -> used -> cooling -> available
        ^            |                             (cooling: quarantine after a leave)
        +------------+  released by refusal or compensation
                     '-> used | reserved without a person: set aside, Teams said it cannot be had (see `SET_ASIDE`)

Owns range expansion and the status names. Refuses to choose one for a person: that happens under the tenant's ledger
lock, lowest free number of the site first. Source: reference domain.md 17.
"""

from typing import Literal

import phonenumbers

from mesh_runtime.values import lean_dataclass

NumberType = Literal["DirectRouting", "CallingPlan", "OperatorConnect"]
NumberStatus = Literal["available", "reserved", "staged", "used", "used-utility", "cooling"]

RANGE_COUNT_MAX = 100_000

# What becomes of a number that Teams refuses: offering it again would refuse the next person too.
SET_ASIDE: dict[str, NumberStatus] = {"number-taken": "used", "number-unknown": "reserved"}


class InvalidNumberError(ValueError):
    """Not a telephone number, or not a range; the text says why in an admin's words."""


@lean_dataclass(frozen=True, slots=True)
class NumberRange:
    """Numbers of one site and one kind, in E.164, ascending and without repeats."""

    site: str
    numbers: tuple[str, ...]
    type: NumberType
    location_id: str | None = None


@lean_dataclass(frozen=True, slots=True)
class FreeNumber:
    number: str
    type: str
    location_id: str | None


def expand(first: str, last: str) -> tuple[str, ...]:
    """All numbers from first to last; both must be possible numbers of one country.

    Raises InvalidNumberError, also for ranges of more than RANGE_COUNT_MAX numbers.
    """
    start, end = parse(first), parse(last)
    if start.country_code != end.country_code or len(first) != len(last):
        raise InvalidNumberError(f"{first} and {last} are not of one country and length")
    low, high = int(first[1:]), int(last[1:])
    if high < low:
        raise InvalidNumberError(f"the range ends ({last}) before it starts ({first})")
    if high - low >= RANGE_COUNT_MAX:
        raise InvalidNumberError(f"the range holds more than {RANGE_COUNT_MAX} numbers; split it")
    return tuple(f"+{value}" for value in range(low, high + 1))


def parse(number: str) -> phonenumbers.PhoneNumber:
    """Raises InvalidNumberError unless the text is a possible number written in E.164."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException as error:
        raise InvalidNumberError(f"{number} is not a telephone number in the form +41445551000") from error
    if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) != number:
        raise InvalidNumberError(f"{number} is not written as E.164 (a plus sign and digits only)")
    if not phonenumbers.is_possible_number(parsed):
        raise InvalidNumberError(f"{number} is too short or too long for its country")
    return parsed


def region(number: str) -> str | None:
    """The country a number belongs to, or None where that cannot be told."""
    return phonenumbers.region_code_for_number(parse(number))
