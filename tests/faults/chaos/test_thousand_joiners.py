"""A thousand joiners through two replicas of each service while something breaks every second.

    UCMESH_CHAOS_EVENTS=10000 ./dev test tests/faults/chaos -n 0 -s

The program and its verdict are those of benchmarks/chaos.py. The seed is UCMESH_SEED, or a new one; it is printed. What
a run that does not hold leaves behind is kept, and named.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EVENTS = int(os.environ.get("UCMESH_CHAOS_EVENTS") or 1_000)
REFERENCE = 60
EVENTS_A_SECOND = 8
FAULTS_MIN = 20
SECONDS_MAX = 1_500 + EVENTS / 2
"""Plans are given up when none moves; this only ends a run that hangs."""

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.postgres,
    pytest.mark.timeout(SECONDS_MAX + 120),
]


def test_nothing_is_lost_or_done_twice() -> None:
    seed = int(os.environ.get("UCMESH_SEED") or random.SystemRandom().randrange(1_000_000))
    kept = Path(tempfile.mkdtemp(prefix="ucmesh-chaos-test-"))
    outcome = kept / "outcome.json"
    asked = {"events": EVENTS, "seed": seed, "rate": EVENTS_A_SECOND, "reference": REFERENCE, "json": outcome}
    program = [sys.executable, str(ROOT / "benchmarks" / "chaos.py")]
    program += [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    with (kept / "report.txt").open("w+") as report:
        done = subprocess.run(program, stdout=report, stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False)
        report.seek(0)
        said = report.read()
    print(said)
    assert outcome.exists(), f"seed {seed}, no verdict; the report is in {kept}:\n{said[-3000:]}"
    verdict = json.loads(outcome.read_text())
    broken = {row["name"]: row["who"][:5] for row in verdict["verdict"] if not row["holds"]}
    assert not broken, f"seed {seed}, the report is in {kept}; {broken}\n{said[-500:]}"
    assert done.returncode == 0
    assert sum(verdict["faults"].values()) > FAULTS_MIN, "too little was broken to say anything"
