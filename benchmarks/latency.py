"""How long from HR's event until Microsoft Graph is asked for the first time, on a mesh that has nothing else to do.

    python benchmarks/latency.py [--joiners 500] [--seed 1] [--json FILE]

One joiner after the other over `POST /hr/events`; the next one is sent when the plan has ended and a pause drawn from
the seed is over, so that polls meet it anywhere. The time runs from before the HTTP request is sent until the
simulator has the first Graph request, both by this machine's clock. Between the two: HTTP, the rules, a commit, the
relay, Apache Kafka, a commit, a lease, and the call itself.
"""

import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from joining import office
from joining.stand import Stand, options, standing
from reporting import program
from reporting.figures import Report, Row, at_most, percentile

from mesh_messaging.envelope import STRUCTURED_TYPE

P50_MS_GOAL, P99_MS_GOAL = 50.0, 150.0
PAUSE_SECONDS_MAX = 0.2
LOG_READ_EVERY = 1_000
"""Joiners between two looks at the simulator's log, which keeps the last 20,000 requests."""


async def measure(home: Path, joiners: int, warm_up: int, seed: int) -> list[Row]:
    async with standing(home, options(seed)) as stand:
        await stand.settle([office.MESH_TENANT], joiners + warm_up + 10)
        await stand.unless_a_part_dies(_one_by_one(stand, office.people(seed, "WARM", warm_up), seed))
        load = program.OtherLoad()
        people = office.people(seed, "LATENCY", joiners)
        waited = await stand.unless_a_part_dies(_one_by_one(stand, people, seed))
        share = load.share()
    milliseconds = [seconds * 1e3 for seconds in waited]
    return [
        at_most("HR event to first Graph request, p50", percentile(milliseconds, 0.5), "ms", P50_MS_GOAL),
        at_most("HR event to first Graph request, p99", percentile(milliseconds, 0.99), "ms", P99_MS_GOAL),
        Row("HR event to first Graph request, longest", max(milliseconds), "ms"),
        Row("HR event to first Graph request, other load", share, "share of the machine"),
    ]


async def _one_by_one(stand: Stand, people: Sequence[Mapping[str, Any]], seed: int) -> list[float]:
    """Seconds of each, in order."""
    draw = random.Random(f"pauses-{seed}")
    waited: list[float] = []
    for start in range(0, len(people), LOG_READ_EVERY):
        sent = [await _send(stand, person, draw) for person in people[start : start + LOG_READ_EVERY]]
        asked = await _reads(stand)
        for moment, following in zip(sent, [*sent[1:], time.time()], strict=True):
            waited.append(next(at for at in asked if moment <= at < following) - moment)
    return waited


async def _send(stand: Stand, person: Mapping[str, Any], draw: random.Random) -> float:
    """When it was sent; its plan has ended."""
    await asyncio.sleep(draw.uniform(0, PAUSE_SECONDS_MAX))
    body = orjson.dumps(office.hr_event(person, office.MESH_TENANT))
    moment = time.time()
    await asyncio.to_thread(stand.api.send, "orchestrator", "/hr/events", body, STRUCTURED_TYPE)
    await asyncio.to_thread(stand.mesh.until_idle)
    return moment


async def _reads(stand: Stand) -> list[float]:
    """When the simulator was asked for users: with this a plan begins."""
    path = f"/_sim/tenants/{office.MESH_TENANT.tenant_id}/state"
    query = {"section": "requests", "face": "graph", "limit": 20_000}
    entries = (await stand.simulator("GET", path, params=query))["requests"]["entries"]
    return [
        entry["at_seconds"] for entry in entries if entry["method"] == "GET" and entry["path"].split("?")[0] == "/users"
    ]


def main(argv: Sequence[str]) -> None:
    given = program.arguments(
        __doc__,
        argv,
        {"joiners": (500, 5), "warm-up": (50, 2)},
        {"joiners": "measured, one after the other", "warm-up": "before, not measured"},
    )
    with program.folder() as home:
        rows = program.run(measure(home, given.joiners, given.warm_up, given.seed))
    settings = {"seed": given.seed, "joiners": given.joiners}
    Report("latency", "From HR's event to the first Graph request, idle mesh", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
