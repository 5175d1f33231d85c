"""What is printed and written: the table of figures, the budget of one joiner, the profile.

Owns names, units and goals of the figures. Refuses to round away: files carry the figures as measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reporting.figures import Row, figures, machine
from rich.console import Console
from rich.table import Table

from joining.mesh import MeshRun
from joining.meters import Stretch
from joining.profile import Profile
from joining.rival import RivalRun
from joining.sql_profile import SqlProfile

RATIO_GOAL = 8.0
FLOOR_GOAL = 0.5
DISTURBED_SHARE = 0.1
PLACES_SHOWN = 14
LIBRARIES_SHOWN = 10
ROWS_SHOWN_MIN = 0.05


@dataclass(frozen=True, slots=True)
class Results:
    """Everything one run found out."""

    settings: Mapping[str, Any]
    mesh: MeshRun
    floor: Stretch | None
    rivals: Sequence[RivalRun]
    profiles: Sequence[Profile] = ()
    sql: SqlProfile | None = None

    def rows(self) -> list[Row]:
        """The figures; the goal is that of the architecture's table of numbers."""
        mesh = self.mesh
        rows = [
            Row("mesh", mesh.joiners_per_second, "joiners/s"),
            Row("mesh operations", mesh.operations_per_second, "operations/s"),
            Row("mesh operations of a joiner", len(mesh.operations), "operations"),
            Row("mesh CPU", mesh.cpu_milliseconds, "ms/joiner"),
            Row("mesh other load", mesh.other_load, "share of the machine"),
        ]
        for name, run in self._others():
            rows += [
                Row(name, run.joiners_per_second, "joiners/s"),
                Row(f"{name} CPU", run.cpu_milliseconds, "ms/joiner"),
                Row(f"{name} other load", run.other_load, "share of the machine"),
            ]
        if self.floor:
            share = mesh.joiners_per_second / self.floor.joiners_per_second
            rows.append(Row("mesh / bare pipeline", share, "x joiners/s", f">= {FLOOR_GOAL:g}", share >= FLOOR_GOAL))
        for same in (True, False):
            rows += self._ratios(same)
        return rows

    def _others(self) -> list[tuple[str, Stretch]]:
        """All that ran beside the mesh, by the name it is shown under."""
        rivals = [(run.name, run) for run in self.rivals]
        return [("bare pipeline", self.floor), *rivals] if self.floor else [*rivals]

    def _ratios(self, same_requests: bool) -> list[Row]:
        """Against the better of the rival's runs of one kind. The goal speaks of the same requests."""
        runs = [run for run in self.rivals if run.same_requests is same_requests]
        if not runs:
            return []
        best = max(runs, key=lambda run: run.joiners_per_second)
        ratio = self.mesh.joiners_per_second / best.joiners_per_second
        saved = best.cpu_milliseconds / self.mesh.cpu_milliseconds
        kind = "same" if same_requests else "one"
        goal = (f">= {RATIO_GOAL:g}", ratio >= RATIO_GOAL) if same_requests else (None, None)
        return [
            Row(f"mesh / DBOS {kind}", ratio, "x joiners/s", *goal),
            Row(f"DBOS {kind} / mesh, CPU", saved, "x CPU of a joiner"),
        ]

    def objections(self) -> list[str]:
        """What keeps the sides from being compared."""
        found = []
        for run in self.rivals:
            if sorted(run.steps) != sorted(self.mesh.operations):
                found.append(f"{run.name} has the steps {', '.join(run.steps)}")
            if run.same_requests and _each(run.cost.requests, run.joiners) != _each(
                self.mesh.cost.requests, self.mesh.joiners
            ):
                found.append(f"{run.name} does not send the requests of the mesh")
        return found

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": "joiner",
            "machine": machine(),
            "settings": dict(self.settings),
            "operations": list(self.mesh.operations),
            "rows": [asdict(row) for row in self.rows()],
            "objections": self.objections(),
            "budget": [{"run": name, "joiners": run.joiners, **asdict(run.cost)} for name, run in self._stretches()],
        }

    def _stretches(self) -> list[tuple[str, Stretch]]:
        return [("mesh", self.mesh), *self._others()]

    def show(self, console: Console) -> None:
        """Print everything."""
        console.print(
            figures("Joiners through the mesh, a bare pipeline, and the same steps on DBOS", self.rows(), self.settings)
        )
        console.print("DBOS same: the mesh's Graph requests; one: one request a step; xN: N processes.", style="dim")
        console.print("Operations of a joiner, read from the plans: " + ", ".join(self.mesh.operations), style="dim")
        console.print(self._budget("CPU of one joiner", "microseconds", lambda cost: cost.cpu_seconds, 1e6))
        console.print(self._budget("PostgreSQL, for one joiner", "count", lambda cost: cost.database, 1.0))
        console.print(self._budget("Messages of one joiner", "records", lambda cost: cost.messages, 1.0))
        console.print(self._budget("Graph requests of one joiner", "requests", lambda cost: cost.requests, 1.0))
        console.print(self._budget("Batching, for one joiner", "count", lambda cost: cost.services, 1.0))
        for profile in self.profiles:
            used = self.mesh.cost.cpu_seconds[profile.program] * 1e6 / self.mesh.joiners
            console.print(_profile_table(profile, used))
        if self.sql is not None:
            console.print(_statements_table(self.sql, self.mesh.joiners))
            console.print(_tables_table(self.sql, self.mesh.joiners))
        if self.profiles:
            spent = self.mesh.cpu_milliseconds
            console.print(f"Sampling costs CPU itself; {spent:.2f} ms a joiner in this run.", style="dim")
        for objection in self.objections():
            console.print(f"[red]not comparable:[/red] {objection}")
        disturbed = [row for row in self.rows() if row.name.endswith("other load") and row.figure > DISTURBED_SHARE]
        if disturbed:
            console.print(
                f"[yellow]Other programs took up to {max(row.figure for row in disturbed):.0%} of the machine; "
                "rates, and ratios of rates, say little then; CPU figures suffer less.[/yellow]"
            )

    def _budget(self, title: str, unit: str, pick: Any, scale: float) -> Table:
        table = Table(title=f"{title} ({unit})", title_justify="left")
        table.add_column("where", no_wrap=True)
        stretches = [stretch for stretch in self._stretches() if any(pick(stretch[1].cost).values())]
        for name, run in stretches:
            table.add_column(f"{name}\nn={run.joiners}", justify="right", no_wrap=True)
        names = dict.fromkeys(name for _, run in stretches for name, value in pick(run.cost).items() if value)
        for name in sorted(names):
            values = [pick(run.cost).get(name, 0.0) * scale / run.joiners for _, run in stretches]
            table.add_row(name, *(f"{value:,.2f}" if value else "" for value in values))
        if "CPU" in title:
            sums = [sum(pick(run.cost).values()) * scale / run.joiners for _, run in stretches]
            table.add_section()
            table.add_row("all", *(f"{value:,.0f}" for value in sums))
        return table


def _profile_table(profile: Profile, microseconds: float) -> Table:
    table = Table(title=f"{profile.program}: {microseconds:,.0f} us a joiner, {profile.samples} samples")
    for column, style in (("us", "right"), ("library that was busy", "left"), ("us", "right"), ("asked by", "left")):
        table.add_column(column, justify="right" if style == "right" else "left", overflow="fold")
    libraries, places = profile.libraries[:LIBRARIES_SHOWN], profile.places[:PLACES_SHOWN]
    for n in range(max(len(libraries), len(places))):
        left = (f"{libraries[n][1] * microseconds:,.0f}", libraries[n][0]) if n < len(libraries) else ("", "")
        right = (f"{places[n][1] * microseconds:,.0f}", places[n][0]) if n < len(places) else ("", "")
        table.add_row(*left, *right)
    return table


def _statements_table(sql: SqlProfile, joiners: int) -> Table:
    table = Table(title="SQL statements of a joiner, by time in the server")
    for column in ("us", "calls", "rows/call", "log bytes"):
        table.add_column(column, justify="right")
    table.add_column("statement", no_wrap=True)
    for each in sql.statements:
        table.add_row(
            f"{each.microseconds / joiners:,.0f}",
            f"{each.calls / joiners:.3f}",
            f"{each.rows / each.calls:,.0f}",
            f"{each.log_bytes / joiners:,.0f}",
            f"{each.database}: {each.text}",
        )
    return table


def _tables_table(sql: SqlProfile, joiners: int) -> Table:
    table = Table(title="Rows written for a joiner, by table")
    table.add_column("table")
    for column in ("inserted", "updated", "of it in place", "deleted"):
        table.add_column(column, justify="right")
    for each in sql.tables:
        counts = (each.inserted, each.updated, each.in_place, each.deleted)
        if sum(counts) / joiners >= ROWS_SHOWN_MIN:
            table.add_row(each.name, *(f"{count / joiners:.2f}" for count in counts))
    return table


def _each(counts: Mapping[str, float], joiners: int) -> dict[str, float]:
    """For one joiner, to a tenth: somebody's retry does not count."""
    return {name: figure for name, count in counts.items() if (figure := round(count / joiners, 1))}
