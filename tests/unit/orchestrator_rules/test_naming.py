"""Sign-in names: what Entra ID allows, whatever HR sends."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.naming import InvalidTemplateError, check_template, display_name, local_part, upn_candidate
from orchestrator.domain.reservations import candidates


@pytest.mark.parametrize(
    ("given_name", "surname", "local"),
    [
        ("Zoë", "Müller", "zoe.muller"),
        ("Jean-Pierre", "D'Arcy", "jean-pierre.darcy"),
        ("Ana Maria", "van der Berg", "anamaria.vanderberg"),
        ("李", "雷", "li.lei"),
        ("Владимир", "Иванов", "vladimir.ivanov"),
        ("Νίκος", "Παππάς", "nikos.pappas"),
        ("Ji-woo", "김", "ji-woo.gim"),
        ("José", "", "jose"),
        ("", "Prince", "prince"),
        ("Søren", "Ø.", "soren.o"),
    ],
)
def test_names_are_written_in_ascii(given_name, surname, local):
    assert local_part("{given}.{surname}", {"given_name": given_name, "surname": surname}, "NW-1") == local


@pytest.mark.parametrize(
    ("template", "local"),
    [
        ("{given_initial}{surname}", "zmuller"),
        ("{surname}.{given_initial}", "muller.z"),
        ("{employee_id}", "nw-1"),
        ("x-{given}_{surname_initial}", "x-zoe_m"),
    ],
)
def test_templates_choose_the_parts(template, local):
    assert local_part(template, {"given_name": "Zoë", "surname": "Müller"}, "NW-1") == local


def test_when_nothing_of_the_name_can_be_written_the_employee_id_serves():
    assert local_part("{given}.{surname}", {"given_name": "!!", "surname": "??"}, "NW-7") == "nw-7"


@given(st.text(max_size=80), st.text(max_size=80), st.text(min_size=1, max_size=64), st.integers(1, 9_999))
def test_any_name_gives_a_legal_candidate_or_none(given_name, surname, employee_id, ordinal):
    local = local_part("{given}.{surname}", {"given_name": given_name, "surname": surname}, employee_id)
    if not local:
        return
    upn = upn_candidate(local, "northwind.example", ordinal)
    name, _, domain = upn.partition("@")
    assert re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", local)
    assert len(name) <= 64
    assert domain == "northwind.example"


@given(st.one_of(st.just(set()), st.sets(st.integers(1, 30), max_size=25)), st.sampled_from([1, 7, 61, 62, 63, 64]))
def test_candidates_are_the_first_ten_alternatives_nobody_has(occupied, length):
    local = "adalee"[:length] + "e" * (length - 6)
    names = candidates(local, "x.example", occupied)
    assert len(names) == len(set(names)) == 10
    free = [n for n in range(1, 60) if n not in occupied][:10]
    assert names == [upn_candidate(local, "x.example", n) for n in free]


@given(st.text(alphabet="aZ9._-' ü", max_size=70))
def test_a_name_that_needs_no_tidying_is_tidied_like_any_other(surname):
    letters = re.sub(r"[^a-z0-9-]", "", surname.replace("ü", "u").lower())
    tidied = re.sub(r"([._-])[._-]+", r"\1", letters).strip("._-")[:64].rstrip("._-")
    assert local_part("{surname}", {"surname": surname}, "") == tidied


def test_display_names_keep_their_letters_and_hr_has_the_last_word():
    facts = {"given_name": "Zoë", "surname": "Müller"}
    assert display_name("{surname}, {given}", facts, "NW-1") == "Müller, Zoë"
    assert display_name("{given} {surname}", facts | {"display_name": "Dr. Zoë M."}, "NW-1") == "Dr. Zoë M."


@pytest.mark.parametrize("template", ["{first}", "plain", "{given!r}", "{given:>9}", "{given", "{}"])
def test_templates_that_cannot_be_used_say_why(template):
    with pytest.raises(InvalidTemplateError):
        check_template(template)
