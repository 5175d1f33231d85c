"""The filters of Graph and of the cmdlets."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucmesh_simulator.directory.errors import GraphError
from ucmesh_simulator.directory.filters import parse_filter as parse_odata
from ucmesh_simulator.powershell.filters import FilterError, parse_filter

ROW = {
    "displayName": "Adele",
    "employeeId": "NW-1",
    "accountEnabled": True,
    "proxyAddresses": ["SMTP:a@b.c"],
    "city": None,
    "assignedLicenses": [{"skuId": "x"}],
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("displayName eq 'adele'", True),
        ("displayName eq 'O''Brien' or employeeId eq 'NW-1'", True),
        ("(displayName eq 'x' or accountEnabled eq true) and city eq null", True),
        ("not (employeeId in ('NW-1','NW-2'))", False),
        ("startsWith(displayName,'ad') and employeeId ge 'NW-1'", True),
        ("proxyAddresses/any(p:p eq 'smtp:a@b.c')", True),
        ("assignedLicenses/any(l:l/skuId eq 'y')", False),
        ("displayName ne 'Adele'", False),
    ],
)
def test_odata_filters_evaluate(text: str, fits: bool) -> None:
    assert parse_odata(text).matches(ROW) is fits


def test_a_filter_names_the_keys_it_narrows_by() -> None:
    assert parse_odata("employeeId eq 'NW-1' and city eq 'Bern'").keys == {"employeeId": ("nw-1",), "city": ("bern",)}
    assert parse_odata("id eq 'a' or id eq 'b'").keys == {"id": ("a", "b")}
    assert parse_odata("id eq 'a' or city eq 'b'").keys == {}
    assert parse_odata("not (id eq 'a')").keys == {}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_400(text: str) -> None:
    statuses = []
    try:
        parse_odata(text).matches(ROW)
    except GraphError as refused:
        statuses.append(refused.status)
    assert set(statuses) <= {400}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_cmdlet_filter_or_refused(text: str) -> None:
    with contextlib.suppress(FilterError):
        parse_filter(text)({"identity": "x"})


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("LineURI -eq 'tel:+1234'", True),
        ("FeatureTypes -contains 'PhoneSystem' -and -not (Enabled -eq $true)", True),
        ("LineURI -like '*99' -or Missing -eq $null", True),
        ('LineURI -ne "tel:+1234"', False),
        ("{LineURI -gt 'tel:+1'}", True),
    ],
)
def test_cmdlet_filters_evaluate(text: str, fits: bool) -> None:
    row = {"lineuri": "tel:+1234", "featuretypes": ["Teams", "PhoneSystem"], "enabled": False}

    assert parse_filter(text)(row) is fits
