"""The retry ladder: how long a failed message waits before its next attempt, and when it is given up.

Owns the arithmetic and the fault points around it. The waiting itself is rows (`parked.py`), climbed by
`ladder_timer.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mesh_runtime import faults

BEFORE_PARK = faults.declare("ladder.before_park", "messages must wait, they are not on the ladder yet")
AFTER_PARK = faults.declare("ladder.after_park", "messages are on the ladder, the transaction is still open")
BEFORE_COMMIT = faults.declare("ladder.before_commit", "parked messages are handled, the transaction is still open")
AFTER_COMMIT = faults.declare("ladder.after_commit", "parked messages are handled and their rows are gone for good")

RUNG_COUNT_MAX = 50


@dataclass(frozen=True, slots=True)
class RetryLadder:
    """Waits in seconds between attempts; after the last one the message is a dead letter. No rungs = no second
    attempt.
    """

    rungs_seconds: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0, 600.0)

    def __post_init__(self) -> None:
        if len(self.rungs_seconds) > RUNG_COUNT_MAX or any(seconds < 0 for seconds in self.rungs_seconds):
            raise ValueError(f"a ladder has at most {RUNG_COUNT_MAX} rungs of 0 seconds or more")

    def due_after(self, failed_attempts: int, now: datetime) -> datetime | None:
        """When to try again after so many failed attempts; None = give up."""
        if failed_attempts > len(self.rungs_seconds):
            return None
        return now + timedelta(seconds=self.rungs_seconds[failed_attempts - 1])
