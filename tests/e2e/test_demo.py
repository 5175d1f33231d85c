"""`./dev demo` as a person runs it, twice: everybody ends as expected, and the second time nothing is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.real_parts import cache

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(900)]
DEMO_SECONDS_MAX = 400


def demo(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "UCMESH_HOME": str(home), "UCMESH_CACHE": str(cache())}
    return subprocess.run(
        [sys.executable, "-m", "ucmesh_embedded", "demo", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        check=False,
    )


def writes(shown: str) -> int:
    return int(re.search(r"the tenants took (\d+) writes", shown).group(1))  # type: ignore[union-attr]


def test_the_demo_ends_as_expected_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    first = demo(tmp_path, "--pictures", str(tmp_path / "pictures"))
    assert first.returncode == 0, first.stdout + first.stderr
    assert writes(first.stdout) > 100
    assert "request-id" in first.stdout
    assert "ucmesh plan show" in first.stdout
    assert "compensated (" in first.stdout, "the head of the plan that was undone"
    assert "ucmesh dlq replay" in first.stdout, "what to do with the dead letter"
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == {"summary.svg", "plan.svg", "trace.svg"}
    second = demo(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert writes(second.stdout) == 0
