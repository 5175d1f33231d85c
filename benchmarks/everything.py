"""Every figure that has a goal, in one table with the machine: one program of this folder after the other.

    ./dev bench [--only NAME ...] [--quick] [--seed 1] [--json FILE]
    ./dev bench NAME ...                                    one program alone, with its own arguments

Each program starts and ends its own servers. A figure is worth something beside another one of the same program. The
exit code is 1 when a program could not measure, 0 also when a goal is not reached.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting.figures import console, machine
from rich.table import Table

HERE = Path(__file__).resolve().parent
PROGRAMS = ("joiner", "latency", "intake", "messaging", "in_flight", "fairness")
LINES_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Part:
    """What one program said; `report` is None when it could not measure, `output` says why then."""

    name: str
    seconds: float
    report: Mapping[str, Any] | None
    output: str


def run(name: str, arguments: Sequence[str]) -> Part:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ucmesh-bench-") as folder:
        file = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), "--json", str(file), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        report = json.loads(file.read_text()) if done.returncode == 0 else None
    return Part(name, time.monotonic() - began, report, done.stdout)


def table(parts: Sequence[Part], settings: Mapping[str, Any]) -> Table:
    caption = ", ".join(f"{name} {value}" for name, value in {**machine(), **settings}.items())
    made = Table(title="What the mesh does, and what it should do", caption=caption)
    for column in ("program", "what", "figure", "unit", "goal", "holds"):
        made.add_column(column, justify="right" if column == "figure" else "left")
    for part in parts:
        for place, row in enumerate(part.report["rows"] if part.report else ()):
            holds = {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[row["holds"]]
            name = f"{part.name} ({part.seconds:.0f} s)" if place == 0 else ""
            made.add_row(name, row["name"], f"{row['figure']:,.2f}", row["unit"], row["goal"] or "", holds)
        made.add_section()
    return made


def as_json(parts: Sequence[Part]) -> dict[str, Any]:
    measured = [(part, part.report) for part in parts if part.report]
    return {
        "machine": machine(),
        "programs": [
            {"name": part.name, "seconds": part.seconds, "settings": report["settings"]} for part, report in measured
        ],
        "rows": [row for _, report in measured for row in report["rows"]],
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PROGRAMS, nargs="+", default=PROGRAMS, help="these programs")
    parser.add_argument("--quick", action="store_true", help="small, for tests: the figures say nothing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args(argv)
    shown, parts = console(), []
    arguments = ["--seed", str(given.seed), *(["--quick"] if given.quick else [])]
    for name in given.only:
        with shown.status(f"{name} measures"):
            part = run(name, arguments)
        parts.append(part)
        if part.report is None:
            shown.print(f"{name} could not measure:", *part.output.splitlines()[-LINES_SHOWN:], sep="\n", markup=False)
    seconds = sum(part.seconds for part in parts)
    shown.print(table(parts, {"seed": given.seed, "seconds": f"{seconds:.0f}"}))
    if given.json:
        given.json.write_text(json.dumps(as_json(parts), indent=2) + "\n")
    return 0 if all(part.report for part in parts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
