"""One, two and four replicas of every service, or of one role of each: the same joiners, each once; who did how much?

    python benchmarks/scale_out.py [--joiners 1000] [--replicas 1 2 4] [--seed 1] [--json FILE]
    python benchmarks/scale_out.py --role consumer [--replicas 1 2 4] ...

Without `--role` each replica runs all roles; with it every role of every service has processes of its own, and the
named role has so many, the others one. All of a service share database, consumer group and outbox. Two cores do no
more with more processes: what is looked at is that nothing is done twice or left, how evenly the work falls on the
replicas, and what a replica costs. Every number of replicas has a stack of its own.

    busiest    the busiest replica's share of what all of its service did / an even share
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from joining import office
from joining.mesh import run as run_mesh
from joining.meters import Reading
from joining.stand import options, standing
from reporting import program
from reporting.figures import Report, Row

from ucmesh_embedded.replicas import ROLES
from ucmesh_embedded.topology import Options

CREATED = "graph POST 201"
CONSUMED, RELAYED, ASKED = "messages of the consumer", "messages of the relay", "requests in rounds"
ROLE_OF = {CONSUMED: "consumer", RELAYED: "relay", ASKED: "worker"}
SHARED = {"orchestrator": (CONSUMED, RELAYED), "graph-adapter": (CONSUMED, RELAYED, ASKED)}


async def measure(home: Path, replicas: int, given: Any) -> list[Row]:
    made = options(given.seed, replicas=replicas)
    if given.role:
        made = replace(made, roles={given.role: replicas})
    async with standing(home, made) as stand:
        await stand.settle([office.MESH_TENANT], given.joiners + given.warm_up + 10)
        await asyncio.to_thread(stand.mesh.join, office.people(given.seed, "WARM", given.warm_up))
        people = office.people(given.seed, "MESH", given.joiners)
        meters = stand.meters(stand.stack.options.everything, office.MESH_TENANT)
        done = await stand.unless_a_part_dies(run_mesh(stand.mesh, people, meters))
        memory = [psutil.Process(stand.stack.pid(name)).memory_info().rss for name in stand.stack.options.services]
    name = f"{replicas} of each {given.role}" if given.role else f"{replicas} of each service"
    doubled = done.cost.requests.get(CREATED, 0.0) - given.joiners
    return [
        Row(name, done.joiners_per_second, "joiners/s"),
        Row(f"{name}, CPU", done.cpu_milliseconds, "ms/joiner"),
        Row(f"{name}, users made too many or too few", doubled, "users", "0", doubled == 0),
        Row(f"{name}, memory of a replica", sum(memory) / len(memory) / 2**20, "MiB"),
        *(Row(f"{name}, busiest {what}", share, "x mean") for what, share in busiest(done.cost, made).items()),
        Row(f"{name}, other load", done.other_load, "share of the machine"),
    ]


def busiest(cost: Reading, made: Options) -> Mapping[str, float]:
    """By service and what it did; only those processes count that have the role for it."""
    found = {}
    for service, whats in SHARED.items():
        for what in whats:
            able = [name for name, roles in made.processes(service).items() if not roles or ROLE_OF[what] in roles]
            counts = [cost.services.get(f"{name}: {what}", 0.0) for name in able]
            if len(counts) > 1 and sum(counts):
                found[f"{service} by {what}"] = max(counts) * len(counts) / sum(counts)
    return found


def main(argv: Sequence[str]) -> None:
    sizes = {"joiners": (1_000, 20), "warm-up": (300, 10)}
    texts = {"joiners": "through each number of replicas", "warm-up": "before the clock starts"}
    parser = program.parser(__doc__, sizes, texts)
    parser.add_argument("--replicas", type=int, nargs="+", help="of every service (1 2 4; 2 with --quick)")
    parser.add_argument("--role", choices=ROLES, help="so many of this role alone, each role in its own processes")
    given = program.sized(parser.parse_args(argv), sizes)
    numbers = given.replicas or ([2] if given.quick else [1, 2, 4])
    rows: list[Row] = []
    for number in numbers:
        with program.folder() as home:
            rows += program.run(measure(home, number, given))
    settings = {"seed": given.seed, "joiners": given.joiners}
    Report("scale_out", f"Replicas of every {given.role or 'service'}", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
