"""Operations of plans in flight as this process last saw them, so that a reply need not read and parse all of them.

Nothing in here is believed by itself: another replica, another release or a person may have written since. An entry
carries the versions of its rows, and is used only when the rows have these same versions now, read under the plan's
lock. A version is PostgreSQL's xmin, the transaction that wrote the row as it is, so it changes with every write,
whoever writes, and needs nobody's help. A transaction that was rolled back never shows up as a version: what was kept
of it is just not found again.

Owns the bound: a plan that ends is forgotten; when all places are taken, a new plan is not kept unless another one has
been idle. Plans take turns, so to throw out the longest unused for the newest would throw out what is needed next.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.plan_status import OperationStatus

RECENT_PLANS_MAX = 3_000
IDLE_SECONDS_MAX = 120.0
"""An entry unused for so long gives way, and is not believed: transaction ids come round again, after years."""


@lean_dataclass(frozen=True, slots=True)
class Seen:
    """Operations in the order of (round, position), and the version of each."""

    operations: Sequence[OperationStatus]
    versions: Sequence[int]
    at: float


class RecentPlans:
    """At most `plans_max` plans. Not shared between processes."""

    def __init__(self, plans_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._plans_max = plans_max
        self._clock = clock
        self._seen: OrderedDict[UUID, Seen] = OrderedDict()

    def __contains__(self, plan_id: UUID) -> bool:
        return plan_id in self._seen

    def get(self, plan_id: UUID, versions: Sequence[int]) -> Sequence[OperationStatus] | None:
        """The plan's operations, if they still have these versions."""
        seen = self._seen.get(plan_id)
        if seen is None:
            return None
        if seen.versions != versions or self._clock() - seen.at > IDLE_SECONDS_MAX:
            self.forget(plan_id)
            return None
        return seen.operations

    def keep(self, plan_id: UUID, operations: Sequence[OperationStatus], versions: Sequence[int]) -> None:
        """Whether there is a place for it or not, what was kept of the plan before is gone."""
        self.forget(plan_id)
        now = self._clock()
        if len(self._seen) >= self._plans_max:
            oldest = next(iter(self._seen.items()), None)
            if oldest is None or now - oldest[1].at <= IDLE_SECONDS_MAX:
                return
            self.forget(oldest[0])
        self._seen[plan_id] = Seen(operations, versions, now)

    def written(self, plan_id: UUID, operations: Sequence[OperationStatus], version: int) -> None:
        """Keep what a transaction made of the plan: rows that are the very objects seen before were not written by it.

        A mistake here would only cost a read: a row that was not written never has this version.
        """
        seen = self._seen.get(plan_id)
        before = zip(seen.operations, seen.versions, strict=True) if seen is not None else ()
        versions = [
            former if row is known else version for row, (known, former) in zip(operations, before, strict=False)
        ]
        versions += [version] * (len(operations) - len(versions))
        self.keep(plan_id, operations, versions)

    def forget(self, plan_id: UUID) -> None:
        """For plans whose rows are written past `keep`: a second write of one transaction has no version of its own."""
        self._seen.pop(plan_id, None)
