"""Every benchmark runs and ends with rows of one shape. With --quick its figures say nothing, and none is judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ROW = {"name": str, "figure": float, "unit": str, "goal": str | None, "holds": bool | None}
SECONDS_MAX = 600
BY_BENCH = "messaging"
"""Runs in the test of the whole table."""
MORE = {"joiner": ("--profile", "profile")}
"""Samplers sit in the services: a signal that means something else to one of them ends the run."""
NOT_BY_ROWS = {"chaos"}
"""Its end is a verdict (tests/faults)."""


def programs() -> list[str]:
    others = {"everything", BY_BENCH, *NOT_BY_ROWS}
    return sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in others)


def run(folder: Path, name: str, *arguments: str) -> dict[str, Any]:
    file = folder / f"{name}.json"
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--json", file, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    document: dict[str, Any] = json.loads(file.read_text())
    for row in document["rows"]:
        assert row["name"] in done.stdout.replace("\n", " ")
    return document


def check(rows: list[dict[str, Any]]) -> None:
    assert rows
    for row in rows:
        assert row.keys() == ROW.keys()
        for name, kind in ROW.items():
            assert isinstance(row[name], float | int if kind is float else kind), row
        assert (row["goal"] is None) == (row["holds"] is None), row
    names = [row["name"] for row in rows]
    assert sorted(set(names)) == sorted(names), "a figure is found by its name"


@pytest.mark.timeout(SECONDS_MAX)
@pytest.mark.parametrize("name", programs())
def test_every_benchmark_runs_and_ends_with_rows(tmp_path: Path, name: str) -> None:
    document = run(tmp_path, name, *MORE.get(name, ()))

    assert document["benchmark"] == name
    assert document["machine"]["cores"] >= 1
    check(document["rows"])


@pytest.mark.timeout(SECONDS_MAX)
def test_bench_puts_the_rows_of_its_programs_into_one_table(tmp_path: Path) -> None:
    document = run(tmp_path, "everything", "--only", BY_BENCH)

    assert [each["name"] for each in document["programs"]] == [BY_BENCH]
    check(document["rows"])
