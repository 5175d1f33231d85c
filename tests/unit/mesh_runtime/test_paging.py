"""Cursors survive the round trip and nothing else passes for one."""

import contextlib
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_runtime.errors import InvalidInput
from mesh_runtime.paging import LIMIT_MAX, Page, decode_cursor, encode_cursor

PART = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)


@given(st.lists(PART, max_size=5))
def test_what_goes_in_comes_out(parts):
    cursor = encode_cursor(*parts)
    assert decode_cursor(cursor) == tuple(parts)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&? ")


def test_datetimes_and_uuids_come_back_as_such_when_asked_for():
    moment, key = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), uuid.uuid4()
    cursor = encode_cursor(moment, key, "x", 1)
    assert decode_cursor(cursor, (datetime, uuid.UUID, str, int)) == (moment, key, "x", 1)
    assert decode_cursor(cursor)[1] == str(key)


@given(st.text(max_size=60))
def test_no_text_is_worse_than_invalid_input(text):
    with contextlib.suppress(InvalidInput):
        decode_cursor(text)


@pytest.mark.parametrize(
    "cursor",
    ["", "%", "abc", encode_cursor("a")[:-2] + "!!", "e30", "W1tdXQ", "W3t9XQ", "A" * 2000, "é", "bnVsbA"],
)
def test_garbage_is_refused(cursor):
    with pytest.raises(InvalidInput):
        decode_cursor(cursor)


@pytest.mark.parametrize(
    ("parts", "types"),
    [
        (("a",), (str, str)),
        (("a",), (int,)),
        ((1,), (str,)),
        ((True,), (int,)),
        (("not a uuid",), (uuid.UUID,)),
        (("yesterday",), (datetime,)),
        (("2026-01-01T00:00:00",), (datetime,)),
        ((None,), (str,)),
    ],
)
def test_parts_of_another_list_are_refused(parts, types):
    with pytest.raises(InvalidInput):
        decode_cursor(encode_cursor(*parts), types)


def test_a_page_names_its_item_type_in_the_schema():
    assert Page[int](items=[1, 2], next="x").model_dump() == {"items": [1, 2], "next": "x"}
    assert Page[int].model_json_schema()["properties"]["items"]["items"] == {"type": "integer"}
    assert LIMIT_MAX == 500
