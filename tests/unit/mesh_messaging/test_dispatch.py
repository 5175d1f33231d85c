"""Grouping of messages into handler calls."""

from collections.abc import Sequence
from datetime import UTC, datetime
from unittest.mock import create_autospec

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.dispatch import dispatch, in_calls
from mesh_messaging.envelope import CloudEvent
from mesh_messaging.message import InboundMessage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(place: int, key: str | None, kind: str) -> InboundMessage:
    return InboundMessage("t", 0, place, key, CloudEvent(str(place), "/s", kind, NOW, None, None, b"{}"), NOW)


def test_one_call_per_type_when_no_key_changes_its_type() -> None:
    calls = in_calls([message(0, "a", "x"), message(1, "b", "y"), message(2, "a", "x"), message(3, None, "y")])
    assert [(kind, [m.offset for m in group]) for kind, group in calls] == [("x", [0, 2]), ("y", [1, 3])]


def test_a_key_whose_messages_alternate_keeps_its_order() -> None:
    kinds = [("k1", "joined"), ("k2", "joined"), ("k1", "changed"), ("k2", "joined"), ("k1", "joined")]
    calls = in_calls([message(n, key, kind) for n, (key, kind) in enumerate(kinds)])
    assert [(kind, [m.offset for m in group]) for kind, group in calls] == [
        ("joined", [0, 1, 3]),
        ("changed", [2]),
        ("joined", [4]),
    ]


async def test_what_was_handled_is_counted_by_type_over_all_calls() -> None:
    calls: list[int] = []

    async def handle(_tx: object, messages: Sequence[InboundMessage]) -> None:
        calls.append(len(messages))

    kinds = ["joined", "changed", "joined", "joined"]
    tx = create_autospec(AsyncConnection, instance=True)
    handlers = dict.fromkeys(kinds, handle)
    counts = await dispatch(tx, handlers, [message(n, "k", kind) for n, kind in enumerate(kinds)])
    assert (calls, counts) == ([1, 1, 2], {"joined": 3, "changed": 1})


@given(
    st.lists(st.tuples(st.none() | st.sampled_from("abc"), st.sampled_from(["x", "y", "z"])), max_size=60).map(
        lambda pairs: [message(n, key, kind) for n, (key, kind) in enumerate(pairs)]
    )
)
def test_every_message_once_and_every_key_in_order(messages: list[InboundMessage]) -> None:
    calls = in_calls(messages)
    flat = [m for _, group in calls for m in group]
    assert sorted(m.offset for m in flat) == list(range(len(messages)))
    assert all(m.event.type == kind for kind, group in calls for m in group)
    for key in "abc":
        places = [m.offset for m in flat if m.key == key]
        assert places == sorted(places)
    for _, group in calls:
        assert [m.offset for m in group] == sorted(m.offset for m in group)
