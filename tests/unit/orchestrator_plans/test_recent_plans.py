"""What a replica keeps of plans in flight: bounded, and nothing without its versions."""

from uuid import UUID

from orchestrator.adapters.db.recent_plans import IDLE_SECONDS_MAX, RecentPlans
from support.plan_script import observe_row

ROWS = [observe_row()]
A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


class Time:
    now = 0.0

    def __call__(self):
        return self.now


def test_operations_are_found_under_their_versions_only():
    recent = RecentPlans(2)
    recent.keep(A, ROWS, [7])
    assert recent.get(A, [7]) is ROWS
    assert recent.get(B, [7]) is None
    assert recent.get(A, [8]) is None
    assert A not in recent
    recent.keep(A, ROWS, [7])
    assert recent.get(A, [7, 7]) is None


def test_who_is_there_stays_when_all_places_are_taken_unless_idle():
    time = Time()
    recent = RecentPlans(2, time)
    recent.keep(A, ROWS, [1])
    time.now = 1
    recent.keep(B, ROWS, [1])
    recent.keep(C, ROWS, [1])
    assert [plan_id in recent for plan_id in (A, B, C)] == [True, True, False]
    time.now = IDLE_SECONDS_MAX + 0.5
    recent.keep(C, ROWS, [1])
    assert [plan_id in recent for plan_id in (A, B, C)] == [False, True, True]


def test_a_plan_without_a_place_is_gone_with_its_older_state():
    """The older state has the same version if both were written in one transaction."""
    recent = RecentPlans(1)
    recent.keep(A, ROWS, [1])
    recent.forget(A)
    recent.keep(B, ROWS, [1])
    recent.keep(A, ROWS, [1])
    assert A not in recent


def test_what_was_idle_too_long_is_not_believed():
    time = Time()
    recent = RecentPlans(2, time)
    recent.keep(A, ROWS, [1])
    time.now = IDLE_SECONDS_MAX + 1
    assert recent.get(A, [1]) is None


def test_no_places_keep_nothing():
    recent = RecentPlans(0)
    recent.keep(A, ROWS, [1])
    assert A not in recent


def test_rows_that_were_not_written_keep_the_version_they_were_read_with():
    recent = RecentPlans(1)
    read, written, added = observe_row(), observe_row(), observe_row(2)
    recent.keep(A, [read, observe_row()], [3, 4])
    recent.written(A, [read, written, added], 9)
    assert recent.get(A, [3, 9, 9]) == [read, written, added]
