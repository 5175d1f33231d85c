"""Beyond this machine: 10,000 tenants and 50 million people on partitions, shards, workers and Microsoft's limits.

    python benchmarks/scale_model.py [--tenants 10000] [--people 50000000] [--seed 1] [--json FILE]

Pure arithmetic and a seeded simulation (scaling/) with the product's own decisions; nothing runs, nothing is measured.
docs/scaling.md holds these figures for seed 1, and a test compares them.
"""

import sys
from collections.abc import Sequence

from reporting import program
from reporting.figures import Report, Row
from scaling.rows import rows


def main(argv: Sequence[str]) -> None:
    given = program.arguments(
        __doc__,
        argv,
        {"tenants": (10_000, 200), "people": (50_000_000, 100_000)},
        {"tenants": "customers' tenants", "people": "in all of them"},
    )
    found: list[Row] = rows(given.seed, given.tenants, given.people)
    settings = {"seed": given.seed, "tenants": given.tenants, "people": given.people}
    Report("scale_model", "Partitions, leases, turns and limits beyond one machine", found, settings).publish(
        given.json
    )


if __name__ == "__main__":
    main(sys.argv[1:])
