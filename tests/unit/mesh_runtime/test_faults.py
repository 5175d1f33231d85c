"""Fault points: silent when inactive, exact when armed."""

import os
import signal
import subprocess
import sys
import timeit

import pytest

from mesh_runtime import faults
from mesh_runtime.errors import MeshError

POINT = faults.declare("test.point", "for the tests of fault points")
OTHER = faults.declare("test.other", "for the tests of fault points")


def run(code: str, value: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, faults.ENVIRONMENT_VARIABLE: value}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True, timeout=30
    )


def test_an_unarmed_point_does_nothing_and_is_not_recorded():
    with faults.recording():
        pass
    faults.fault_point(POINT)
    assert faults.observed() == []


def test_the_nth_hit_fails_and_the_others_do_not():
    with faults.inject(POINT, 2, "error"):
        faults.fault_point(POINT)
        faults.fault_point(OTHER)
        with pytest.raises(faults.FaultInjected) as caught:
            faults.fault_point(POINT)
        faults.fault_point(POINT)
    assert isinstance(caught.value, MeshError)
    assert caught.value.retryable
    assert faults.observed() == [POINT, OTHER, POINT, POINT]
    faults.fault_point(POINT)


def test_failing_the_nth_operation_until_nothing_fails_ends():
    def work() -> None:
        for name in (POINT, OTHER, POINT):
            faults.fault_point(name)

    failed_at = []
    for n in range(1, 10):
        try:
            with faults.inject(POINT, n):
                work()
        except faults.FaultInjected:
            failed_at.append(n)
        else:
            break
    assert failed_at == [1, 2]


def test_an_action_may_be_a_callable():
    hits = []
    with faults.inject(POINT, 1, lambda: hits.append("hit")):
        faults.fault_point(POINT)
        faults.fault_point(POINT)
    assert hits == ["hit"]


def test_nested_injections_count_for_themselves():
    with faults.inject(POINT, 3), faults.recording() as seen:
        faults.fault_point(POINT)
        with faults.inject(POINT, 1), pytest.raises(faults.FaultInjected):
            faults.fault_point(POINT)
        with pytest.raises(faults.FaultInjected):
            faults.fault_point(POINT)
    assert seen == [POINT] * 3


def test_pause_stalls_and_goes_on():
    with faults.inject(POINT, 1, "pause:0.05"):
        assert timeit.timeit(lambda: faults.fault_point(POINT), number=1) >= 0.05


def test_names_are_declared_once_with_one_meaning():
    assert faults.declare(POINT, "for the tests of fault points") == POINT
    assert faults.registry()[POINT] == "for the tests of fault points"
    with pytest.raises(ValueError, match="declared twice"):
        faults.declare(POINT, "something else")


@pytest.mark.parametrize("wrong", ["x", "x@0=kill", "x@1=explode", "x@1=pause:soon", "x@one=kill", "@1=kill"])
def test_a_broken_specification_is_named(wrong):
    with pytest.raises(ValueError, match=r"fault action|name@N"):
        faults.parse(wrong)


def test_a_specification_lists_several_faults():
    assert faults.parse("a.b@1=kill, c@12=pause:0.5,") == [("a.b", 1, "kill"), ("c", 12, "pause:0.5")]
    with pytest.raises(ValueError, match="counted from 1"), faults.inject(POINT, 0):
        pass


def test_the_environment_kills_the_process_at_the_nth_hit():
    code = (
        "from mesh_runtime.faults import fault_point\n"
        "for n in range(1, 5):\n    fault_point('a.b'); print(n, flush=True)"
    )
    done = run(code, "a.b@3=kill")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n2\n")


def test_the_environment_can_ask_for_errors():
    code = "from mesh_runtime import faults\ntry: faults.fault_point('x')\nexcept faults.FaultInjected as e: print(e)"
    assert run(code, "x@1=error").stdout == "fault injected at x\n"
    assert "name@N" in run(code, "nonsense").stderr


def test_an_inactive_point_costs_less_than_a_microsecond():
    faults.fault_point(POINT)
    best = min(timeit.repeat(lambda: faults.fault_point(POINT), number=10_000, repeat=5)) / 10_000
    assert best < 1e-6
