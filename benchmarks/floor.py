"""How many joiners a second go through a pipeline that does nothing else: what the machine allows.

    python benchmarks/floor.py [--joiners 5000] [--seed 1] [--json FILE]

One orchestrator process, one adapter process, an endpoint that answers `$batch`, PostgreSQL that commits to disk and
Apache Kafka. No rules, validation, tracing, security or proof (bare/). `./dev bench` runs the same beside the mesh.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bare import run as floor
from bare import steps
from joining import office
from joining.meters import Meters, Stretch
from reporting import program
from reporting.figures import Report, Row

from ucmesh_embedded.parts import PostgresPart
from ucmesh_embedded.stack import Stack
from ucmesh_embedded.topology import Options

PARTS = ("postgres", "kafka")


async def measure(home: Path, joiners: int, warm_up: int, seed: int) -> Stretch:
    """On a stack of its own under `home`."""
    stack = Stack(home, Options(pwsh=False), lambda _name, _text: None)
    endpoints = await stack.start(PARTS)
    try:
        part = stack.supervisor.parts["postgres"]
        assert isinstance(part, PostgresPart)
        meters = Meters(
            pids={name: stack.pid(name) for name in PARTS},
            postgres_url=part.server.url(),
            kafka=endpoints.kafka,
            topics=[floor.COMMANDS, floor.REPLIES],
        )
        warm, people = office.people(seed, "BAREWARM", warm_up), office.people(seed, "BARE", joiners)
        return await floor.run(part.server.ensure_database, endpoints.kafka, warm, people, meters)
    finally:
        await stack.stop()


def rows(done: Stretch) -> list[Row]:
    each = 1e6 / done.joiners
    return [
        Row("bare pipeline", done.joiners_per_second, "joiners/s"),
        Row("bare pipeline operations", done.joiners_per_second * steps.COUNT, "operations/s"),
        Row("CPU", done.cpu_milliseconds, "ms/joiner"),
        *(Row(f"CPU of {name}", spent * each, "us/joiner") for name, spent in sorted(done.cost.cpu_seconds.items())),
        Row("other load", done.other_load, "share of the machine"),
    ]


def main(argv: Sequence[str]) -> None:
    given = program.arguments(
        __doc__,
        argv,
        {"joiners": (5_000, 40), "warm-up": (1_000, 10)},
        {"joiners": "measured", "warm-up": "before the clock starts"},
    )
    with program.folder() as home:
        done = program.run(measure(home, given.joiners, given.warm_up, given.seed))
    settings = {"seed": given.seed, "joiners": given.joiners}
    Report("floor", "Joiners through the bare pipeline", rows(done), settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
