"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = 4
"""Deadlines are written for an idle machine; a busy one gets this many times as long. A met condition costs nothing."""

T = TypeVar("T")


async def eventually(
    condition: Callable[[], Awaitable[T]] | Callable[[], T],
    *,
    seconds: float = 15,
    what: str = "",
    every_seconds: float = 0.02,
) -> T:
    """The condition's first truthy value. AssertionError, naming `what` and the last value, when time is up.

    An AssertionError raised by the condition counts as "not yet", so plain asserts can be waited for.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    last: object = None
    while True:
        try:
            value = condition()
            last = await value if inspect.isawaitable(value) else value
            if last:
                return last
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE} s: {what or condition!r}; last seen: {last!r}")
        await asyncio.sleep(every_seconds)


def eventually_sync(condition: Callable[[], T], *, seconds: float = 15, what: str = "") -> T:
    """The same for code without an event loop."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE} s: {what or condition!r}; last seen: {value!r}")
        time.sleep(0.02)
