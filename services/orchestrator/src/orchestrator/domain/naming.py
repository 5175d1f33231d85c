"""Names by rule: the sign-in name (UPN), its numbered alternatives, and the display name.

Owns the template language (`{given}.{surname}`) and the transliteration into what Entra ID allows in a UPN. Refuses to
look anything up: whether a candidate is free is decided where reservations are made.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from string import Formatter
from typing import Any

from anyascii import anyascii

PLACEHOLDERS = ("given", "surname", "given_initial", "surname_initial", "employee_id")
CANDIDATE_COUNT_MAX = 10  # what one `user.observe` may ask for
LOCAL_PART_LENGTH_MAX = 64
DISPLAY_NAME_LENGTH_MAX = 256

_NOT_ALLOWED = re.compile(r"[^a-z0-9._-]")
_NOT_IN_NAME = re.compile(r"[^a-z0-9-]")
_TIDY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_REPEATED_SEPARATORS = re.compile(r"([._-])[._-]+")


class InvalidTemplateError(ValueError):
    """The template is not usable; the text names the placeholder."""


def check_template(template: str) -> None:
    """Raises InvalidTemplateError unless every placeholder is known and at least one is there."""
    try:
        names = [name for _, name, spec, conversion in Formatter().parse(template) if name is not None]
        decorated = [name for _, name, spec, conversion in Formatter().parse(template) if spec or conversion]
    except ValueError as error:
        raise InvalidTemplateError(f"{error}") from error
    unknown = [name for name in names if name not in PLACEHOLDERS]
    if unknown or decorated:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise InvalidTemplateError(f"{{{(unknown or decorated)[0]}}} is not a placeholder; known are {known}")
    if not names:
        raise InvalidTemplateError("the template has no placeholder, so everybody would get the same name")


def _values(facts: Mapping[str, Any], employee_id: str) -> dict[str, str]:
    given, surname = str(facts.get("given_name") or "").strip(), str(facts.get("surname") or "").strip()
    return {
        "given": given,
        "surname": surname,
        "given_initial": given[:1],
        "surname_initial": surname[:1],
        "employee_id": employee_id,
    }


def ascii_name(text: str) -> str:
    """The lower-case ASCII letters, digits and hyphens of a name: "Jürg O'Neill" is "jurgoneill"."""
    if text.isascii():
        return text.lower() if text.isalnum() else _NOT_IN_NAME.sub("", text.lower())
    return _NOT_IN_NAME.sub("", anyascii(text).lower())


def local_part(template: str, facts: Mapping[str, Any], employee_id: str) -> str:
    """The part before the "@", or "" when nothing usable is left of the names and of the employee id."""
    values = _values(facts, employee_id)
    names = {}
    for name in _placeholders(template):
        whole = ascii_name(values[name.removesuffix("_initial")])
        names[name] = whole[:1] if name.endswith("_initial") else whole
    return _tidy(template.format_map(names).lower()) or _tidy(ascii_name(employee_id))


@lru_cache(maxsize=1_024)
def _placeholders(template: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def _tidy(text: str) -> str:
    if len(text) <= LOCAL_PART_LENGTH_MAX and _TIDY.fullmatch(text):
        return text
    single = _REPEATED_SEPARATORS.sub(r"\1", _NOT_ALLOWED.sub("", text))
    return single.strip("._-")[:LOCAL_PART_LENGTH_MAX].rstrip("._-")


def upn_candidate(local: str, domain: str, ordinal: int) -> str:
    """The ordinal-th choice: 1 is the plain name, 2 is "name2", never longer than Entra ID allows."""
    suffix = "" if ordinal == 1 else str(ordinal)
    return f"{local[: LOCAL_PART_LENGTH_MAX - len(suffix)]}{suffix}@{domain}"


def first_candidates(local: str, domain: str) -> list[str]:
    """The first ten choices, for a name that none of them makes too long."""
    return [local + end for end in _first_ends(domain)]


@lru_cache(maxsize=1_024)
def _first_ends(domain: str) -> tuple[str, ...]:
    return tuple(upn_candidate("", domain, ordinal) for ordinal in range(1, CANDIDATE_COUNT_MAX + 1))


def display_name(template: str, facts: Mapping[str, Any], employee_id: str) -> str:
    """HR's own display name wins; names keep their letters and marks."""
    given = str(facts.get("display_name") or "").strip()
    text = given or " ".join(template.format_map(_values(facts, employee_id)).split())
    return (text or employee_id)[:DISPLAY_NAME_LENGTH_MAX]
