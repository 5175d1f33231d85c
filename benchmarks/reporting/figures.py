"""The rows a benchmark ends with: printed as a table, written as JSON, the same in both.

Owns their shape and the machine they were measured on. Refuses to round away: files carry the figures as measured.
"""

import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

WIDTH = 130


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `holds` is None where there is no goal."""

    name: str
    figure: float
    unit: str
    goal: str | None = None
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one program found out; `benchmark` is its name without `.py`."""

    benchmark: str
    title: str
    rows: Sequence[Row]
    settings: Mapping[str, Any]

    def show(self, console: Console) -> None:
        console.print(figures(self.title, self.rows, self.settings))

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "machine": machine(),
            "settings": dict(self.settings),
            "rows": [asdict(row) for row in self.rows],
        }

    def publish(self, file: Path | None) -> None:
        """Print, and write where a file is named."""
        self.show(console())
        if file:
            file.write_text(json.dumps(self.as_json(), indent=2) + "\n")


def at_least(name: str, figure: float, unit: str, goal: float) -> Row:
    return Row(name, figure, unit, f">= {goal:,g}", figure >= goal)


def at_most(name: str, figure: float, unit: str, goal: float) -> Row:
    return Row(name, figure, unit, f"<= {goal:,g}", figure <= goal)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def figures(title: str, rows: Sequence[Row], settings: Mapping[str, Any]) -> Table:
    """The table of figures; machine and settings are its caption."""
    table = Table(
        title=title, caption=", ".join(f"{name} {value}" for name, value in {**machine(), **settings}.items())
    )
    for column in ("what", "figure", "unit", "goal", "holds"):
        table.add_column(column, justify="right" if column == "figure" else "left")
    for row in rows:
        holds = "" if row.holds is None else "[green]yes[/green]" if row.holds else "[red]no[/red]"
        table.add_row(row.name, f"{row.figure:,.2f}", row.unit, row.goal or "", holds)
    return table


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "dbos": importlib.metadata.version("dbos"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
