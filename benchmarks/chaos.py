"""Joiners through two replicas of each service while something breaks every second: what is lost or done twice?

    python benchmarks/chaos.py [--events 1000] [--seed 1] [--rate 4] [--reference 1000] [--pwsh] [--unlimited]
        [--json FILE] [--keep FOLDER]

The same people go through an undisturbed mesh first (with `--reference`, so many of them, who then stand for the
others of their department); then through one in which a victim drawn from the seed is killed with -9 and started
again, paused beyond every lease, has its wall clock moved, or its connections reset, slowed, stranded, or cut after the
effect. At the end the tenant's state and the mesh's own records of both runs are compared. Exit code 1 when something
differs; who and which plan is printed, and the logs with the list of faults stay in a folder that is named.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from breaking.faults import EVERY_SECONDS, FAULTS_A_START, Faults
from breaking.office import Office, options, people, sample
from breaking.verdict import Expected, Picture, Row, compare
from rich.console import Console
from rich.table import Table

from support.jumping_clock import JumpingClock, library
from support.toxic import ToxicProxy
from ucmesh_embedded.places import Places
from ucmesh_embedded.stack import Stack
from ucmesh_embedded.topology import KAFKA_DOOR

REPLICAS = 2
WIDTH = 130
POLL_SECONDS = 0.5
SENDERS_MAX = 100
STILL_SECONDS_MAX = 240.0
"""Plans that show no progress for so long are stuck."""
LISTENERS_BEHIND = {"postgres": "postgres", "simulator": "simulator", "kafka": KAFKA_DOOR}
"""The listener that the proxy of a server leads to."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is asked for."""

    events: int
    seed: int
    rate: float
    reference: int
    pwsh: bool
    unlimited: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the report says."""

    run: Run
    seconds: float
    every_seconds: float
    faults: Counter[str]
    ends: Counter[str]
    rows: Sequence[Row]

    @property
    def holds(self) -> bool:
        return not any(row.who for row in self.rows)

    def show(self, console: Console) -> None:
        run = self.run
        console.print(f"{run.events} joiners, seed {run.seed}, {self.seconds:.0f} s, ends: {dict(self.ends)}")
        title = f"{self.faults.total()} faults, one every {self.every_seconds:.1f} s"
        faults = Table("fault", "times", title=title)
        for kind, times in sorted(self.faults.items()):
            faults.add_row(kind, str(times))
        verdict = Table("verdict", "figure", "goal", "holds")
        for row in self.rows:
            verdict.add_row(row.name, str(len(row.who)), "0", "no" if row.who else "yes")
        console.print(faults, verdict)
        for row in self.rows:
            for who in row.who[:20]:
                console.print(f"{row.name}: {who}", markup=False)

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self.run),
            "seconds": round(self.seconds, 1),
            "fault_every_seconds": round(self.every_seconds, 2),
            "faults": dict(self.faults),
            "ends": dict(self.ends),
            "holds": self.holds,
            "verdict": [row.as_json() for row in self.rows],
        }


async def undisturbed(home: Path, run: Run, everybody: Sequence[Mapping[str, Any]]) -> Picture:
    """One replica of each, all sent at once."""
    made = options(run.seed, 1, keep_tenants=False, durable=False, pwsh=run.pwsh, doors={})
    async with Stack(home, made, cache=Places.from_environment().cache) as stack:
        office = Office(stack)
        await office.prepare(len(everybody), unlimited=run.unlimited)
        for start in range(0, len(everybody), 500):
            await office.send(everybody[start : start + 500])
        await _ended(office)
        picture = await Picture.take(office, [each["employee_id"] for each in everybody])
        await office.close()
    return picture


async def disturbed(home: Path, run: Run, everybody: Sequence[Mapping[str, Any]]) -> tuple[Picture, Faults]:
    """Faults from the first event on, until every plan has ended or the time they may last is over."""
    proxies = {name: await ToxicProxy("127.0.0.1", 0).up() for name in LISTENERS_BEHIND}
    doors = {name: proxy.port for name, proxy in proxies.items()}
    log = home / "stack.txt"

    starts: list[float] = []

    def told(name: str, text: str) -> None:
        if name in made.services and text.startswith("ready after "):
            starts.append(float(text.split()[2]))
        if name in proxies and text == "starting":
            proxies[name].upstream_port = stack.wiring.ports[LISTENERS_BEHIND[name]]
        with log.open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {name}: {text}\n")

    clock = JumpingClock(home / "clock") if library() is not None else None
    made = options(run.seed, REPLICAS, keep_tenants=True, durable=True, pwsh=run.pwsh, doors=doors, clock=clock)
    stack = Stack(home, made, told, Places.from_environment().cache)
    async with stack:
        office = Office(stack)
        await office.prepare(len(everybody), unlimited=run.unlimited)
        every_seconds = max(EVERY_SECONDS, median(starts) / FAULTS_A_START)
        faults, over = Faults(stack, proxies, run.seed, told, clock, every_seconds), asyncio.Event()
        breaking = asyncio.create_task(faults.run(over))
        try:
            await _hand_in(office, everybody, run.rate)
            await _ended(office, len(everybody) / run.rate)
        finally:
            over.set()
            await breaking
        await _ended(office)
        picture = await Picture.take(office, [each["employee_id"] for each in everybody])
        await office.close()
    for proxy in proxies.values():
        await proxy.down()
    return picture, faults


async def _hand_in(office: Office, everybody: Sequence[Mapping[str, Any]], rate: float) -> None:
    """One a request, at the times of a clock, also while those before are not answered yet."""
    began, room = time.monotonic(), asyncio.Semaphore(SENDERS_MAX)
    async with asyncio.TaskGroup() as sending:
        for place, each in enumerate(everybody):
            await asyncio.sleep(max(began + place / rate - time.monotonic(), 0))
            await room.acquire()
            sending.create_task(office.send([each])).add_done_callback(lambda _: room.release())


async def _ended(office: Office, seconds_max: float = float("inf")) -> None:
    """Until no plan is under way any more, none has moved for STILL_SECONDS_MAX, or `seconds_max` are over."""
    began = moved = time.monotonic()
    latest: Any = None
    while under_way := await office.under_way():
        now = time.monotonic()
        if under_way != latest:
            latest, moved = under_way, now
        if now - moved > STILL_SECONDS_MAX or now - began > seconds_max:
            return
        await asyncio.sleep(POLL_SECONDS)


async def carry_out(home: Path, run: Run, console: Console) -> Outcome:
    everybody = people(run.seed, run.events)
    console.print(f"seed {run.seed}, {run.events} events")
    began = time.monotonic()
    picture = await undisturbed(home / "undisturbed", run, sample(everybody, run.reference))
    seconds = time.monotonic() - began
    console.print(f"undisturbed: {len(picture.people)} joiners, {seconds:.0f} s, ends: {dict(_ends(picture))}")
    wanted = Expected.of(picture, everybody)
    began = time.monotonic()
    (home / "disturbed").mkdir(exist_ok=True)
    found, faults = await disturbed(home / "disturbed", run, everybody)
    rows = compare(wanted, found)
    return Outcome(run, time.monotonic() - began, faults.every_seconds, faults.counts, _ends(found), rows)


def _ends(picture: Picture) -> Counter[str]:
    return Counter(str(person.get("status")) for person in picture.people.values())


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000, help="joiners")
    parser.add_argument("--seed", type=int, default=1, help="of people and faults")
    parser.add_argument("--rate", type=float, default=4.0, help="events a second")
    parser.add_argument("--reference", type=int, help="joiners of the undisturbed run; all if not given")
    parser.add_argument("--pwsh", action="store_true", help="real PowerShell sessions in place of simulated ones")
    parser.add_argument("--unlimited", action="store_true", help="the tenant has none of Microsoft's request limits")
    parser.add_argument("--json", type=Path, help="write the outcome there")
    parser.add_argument("--keep", type=Path, help="folder for logs, kept in any case")
    given = parser.parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    run = Run(given.events, given.seed, given.rate, given.reference or given.events, given.pwsh, given.unlimited)
    home = given.keep or Path(tempfile.mkdtemp(prefix="ucmesh-chaos-"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)  # PostgreSQL may run as another user
    holds = False
    try:
        outcome = asyncio.run(carry_out(home, run, console))
        outcome.show(console)
        if given.json:
            given.json.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
        holds = outcome.holds
    finally:
        if holds and given.keep is None:
            shutil.rmtree(home)
        else:
            console.print(f"faults in {home}/disturbed/stack.txt, logs beside it", soft_wrap=True)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
