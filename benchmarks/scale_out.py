"""One, two and four replicas of every service on this machine: the same joiners, each once, and who did how much.

    python benchmarks/scale_out.py [--joiners 1000] [--replicas 1 2 4] [--seed 1] [--json FILE]

Each replica runs all roles; all of a service share database, consumer group and outbox. Two cores do no more with more
processes: what is looked at is that nothing is done twice or left, how evenly the work falls on the replicas, and what
a replica costs. Every number of replicas has a stack of its own.

    busiest    the busiest replica's share of what all of its service did / an even share
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from joining import office
from joining.mesh import run as run_mesh
from joining.meters import Reading
from joining.stand import options, standing
from reporting import program
from reporting.figures import Report, Row

from ucmesh_embedded.topology import replica_names

CREATED = "graph POST 201"
SHARED = {
    "orchestrator": ("messages of the consumer", "messages of the relay"),
    "graph-adapter": ("messages of the consumer", "messages of the relay", "requests in rounds"),
}


async def measure(home: Path, replicas: int, given: Any) -> list[Row]:
    async with standing(home, options(given.seed, replicas=replicas)) as stand:
        await stand.settle([office.MESH_TENANT], given.joiners + given.warm_up + 10)
        await asyncio.to_thread(stand.mesh.join, office.people(given.seed, "WARM", given.warm_up))
        people = office.people(given.seed, "MESH", given.joiners)
        meters = stand.meters(stand.stack.options.everything, office.MESH_TENANT)
        done = await stand.unless_a_part_dies(run_mesh(stand.mesh, people, meters))
        memory = [psutil.Process(stand.stack.pid(name)).memory_info().rss for name in stand.stack.options.services]
    name = f"{replicas} of each service"
    doubled = done.cost.requests.get(CREATED, 0.0) - given.joiners
    return [
        Row(name, done.joiners_per_second, "joiners/s"),
        Row(f"{name}, CPU", done.cpu_milliseconds, "ms/joiner"),
        Row(f"{name}, users made too many or too few", doubled, "users", "0", doubled == 0),
        Row(f"{name}, memory of a replica", sum(memory) / len(memory) / 2**20, "MiB"),
        *(Row(f"{name}, busiest {what}", share, "x mean") for what, share in busiest(done.cost, replicas).items()),
        Row(f"{name}, other load", done.other_load, "share of the machine"),
    ]


def busiest(cost: Reading, replicas: int) -> Mapping[str, float]:
    """By service and what it did."""
    found = {}
    for service, whats in SHARED.items():
        for what in whats:
            counts = [cost.services.get(f"{name}: {what}", 0.0) for name in replica_names(service, replicas)]
            if sum(counts):
                found[f"{service} by {what}"] = max(counts) * len(counts) / sum(counts)
    return found


def main(argv: Sequence[str]) -> None:
    sizes = {"joiners": (1_000, 20), "warm-up": (300, 10)}
    texts = {"joiners": "through each number of replicas", "warm-up": "before the clock starts"}
    parser = program.parser(__doc__, sizes, texts)
    parser.add_argument("--replicas", type=int, nargs="+", help="of every service (1 2 4; 2 with --quick)")
    given = program.sized(parser.parse_args(argv), sizes)
    numbers = given.replicas or ([2] if given.quick else [1, 2, 4])
    rows: list[Row] = []
    for number in numbers:
        with program.folder() as home:
            rows += program.run(measure(home, number, given))
    settings = {"seed": given.seed, "joiners": given.joiners}
    Report("scale_out", "Replicas of every service", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
