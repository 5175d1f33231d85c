"""Time and ids as ports."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from mesh_runtime.clock import ManualClock, SequentialIds, SystemClock, Uuid7Ids


def test_the_system_clock_is_aware_and_its_monotonic_reading_never_falls():
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_moves_only_when_told():
    clock = ManualClock(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    clock.advance(90.5)
    assert clock.now() == datetime(2026, 1, 1, 0, 1, 30, 500_000, tzinfo=UTC)
    assert clock.monotonic() == 90.5


def test_a_manual_clock_refuses_naive_starts_and_going_back():
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="backwards"):
        ManualClock(datetime(2026, 1, 1, tzinfo=UTC)).advance(-1)


def test_uuid7_ids_are_version_7_and_sorted_by_creation():
    ids = [Uuid7Ids().new() for _ in range(200)]
    assert {made.version for made in ids} == {7}
    assert ids == sorted(ids)
    assert len(set(ids)) == 200


def test_sequential_ids_repeat_for_a_seed_and_differ_between_seeds():
    first, again, other = (SequentialIds(seed) for seed in (1, 1, 2))
    made = [first.new() for _ in range(3)]
    assert made == [again.new() for _ in range(3)] == sorted(made)
    assert other.new() not in made
    with pytest.raises(ValueError, match="48 bits"):
        SequentialIds(2**48)
