"""From messages to handler calls: grouped by type, in an order that keeps every key's messages in sequence.

Owns the grouping. Refuses to know transactions and failures.

A handler gets all messages of its type in one call where the order allows it. Messages of one key keep their order
across types, so a key whose messages alternate between types makes several calls:

    k1:joined  k2:joined  k1:changed  k2:joined  k1:joined      in offset order
    [joined: k1 k2 k2]  [changed: k1]  [joined: k1]             three calls
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh_messaging.message import Handler, InboundMessage


def in_calls(messages: Sequence[InboundMessage]) -> list[tuple[str, list[InboundMessage]]]:
    """Group messages into calls of (event type, messages); keyless messages have no order to keep."""
    calls: list[tuple[str, list[InboundMessage]]] = []
    by_type: dict[str, list[int]] = {}
    latest_of_key: dict[tuple[str, str], int] = {}
    for message in messages:
        kind = message.event.type
        key = (message.topic, message.key) if message.key is not None else None
        earliest = latest_of_key.get(key, 0) if key is not None else 0
        place = next((index for index in by_type.get(kind, ()) if index >= earliest), None)
        if place is None:
            place = len(calls)
            calls.append((kind, []))
            by_type.setdefault(kind, []).append(place)
        calls[place][1].append(message)
        if key is not None:
            latest_of_key[key] = place
    return calls


async def dispatch(
    tx: AsyncConnection, handlers: Mapping[str, Handler], messages: Sequence[InboundMessage]
) -> Counter[str]:
    """Call the handlers in the caller's transaction; every message's type must have one. Returns how many of each type.

    Raises what a handler raises.
    """
    for kind, group in in_calls(messages):
        await handlers[kind](tx, group)
    return Counter(message.event.type for message in messages)
