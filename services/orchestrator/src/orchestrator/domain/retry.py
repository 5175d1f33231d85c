"""How long to wait before the next try: backoff of failed operations, growing polls of waits, learned first polls.

Owns the arithmetic only. It reads no clock and draws no random numbers: the spread that keeps a thousand plans from
retrying in the same instant comes from the operation's own id, so a replay computes the same times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh_runtime.values import lean_dataclass

SPREAD_SHARE = 0.2
LEARNED_SHARE = 0.6
LAG_WEIGHT = 0.3
"""How much the newest lag counts in the weighted mean that the rows keep."""


@lean_dataclass(frozen=True, slots=True)
class Retry:
    """Tries of one operation: `attempts_max` counts the first try too; a pause never exceeds `cap_seconds`."""

    attempts_max: int = 5
    first_seconds: float = 2.0
    factor: float = 2.0
    cap_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts_max <= 100:
            raise ValueError(f"attempts_max must be 1..100, not {self.attempts_max}")
        _check_growth(self.first_seconds, self.factor, self.cap_seconds)


@lean_dataclass(frozen=True, slots=True)
class Wait:
    """A gate: the operation is a read that is repeated until its output is `ready` or `deadline_seconds` are over.

    `ready` is an expectation (see `verification`): dotted path -> expected value. Empty = any successful read is ready.
    `gate` names the lag that is learned per tenant ("licence.mailbox"); "" = nothing is learned.
    """

    first_seconds: float = 5.0
    factor: float = 1.5
    cap_seconds: float = 300.0
    deadline_seconds: float = 86_400.0
    ready: Mapping[str, Any] | None = None
    gate: str = ""

    def __post_init__(self) -> None:
        _check_growth(self.first_seconds, self.factor, self.cap_seconds)
        if self.deadline_seconds <= 0:
            raise ValueError("deadline_seconds must be positive")


def _check_growth(first_seconds: float, factor: float, cap_seconds: float) -> None:
    if first_seconds < 0 or cap_seconds < 0 or factor < 1:
        raise ValueError("first_seconds and cap_seconds must not be negative, factor must be at least 1")


def backoff_seconds(retry: Retry, failures: int, seed: int) -> float:
    """Pause after the `failures`-th failure (1-based), spread by up to 20 % upwards by `seed`."""
    return _grown(retry.first_seconds, retry.factor, retry.cap_seconds, failures - 1) * _spread(seed, failures)


def first_poll_seconds(wait: Wait, lag_seconds: float | None) -> float:
    """Pause before the first poll: a share of the learned lag, so that a tenant that got faster is noticed."""
    if lag_seconds is None:
        return wait.first_seconds
    return min(lag_seconds * LEARNED_SHARE, wait.cap_seconds, wait.deadline_seconds / 2)


def poll_seconds(wait: Wait, polls: int, seed: int) -> float:
    """Pause after the `polls`-th poll that was not ready (1-based)."""
    first = max(wait.first_seconds, 0.05)
    return _grown(first, wait.factor, wait.cap_seconds, polls - 1) * _spread(seed, polls)


def _grown(first: float, factor: float, cap: float, steps: int) -> float:
    # 64 doublings exceed every cap; without the bound a large exponent would overflow a float.
    return float(min(first * factor ** min(max(steps, 0), 64), cap))


def _spread(seed: int, step: int) -> float:
    return 1.0 + SPREAD_SHARE * (((seed ^ (step * 0x9E3779B1)) % 1024) / 1024)
