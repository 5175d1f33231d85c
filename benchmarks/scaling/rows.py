"""The figures of docs/scaling.md, from a world of so many tenants and people."""

from collections.abc import Sequence

from reporting.figures import Row, percentile

from graph_adapter.domain.fairness import Limits
from scaling import spread, turns
from scaling.world import (
    CONNECTIONS_OF_AN_ORCHESTRATOR,
    PEAK,
    POSTGRES_CONNECTIONS,
    events_a_second,
    joiners_a_second_of_a_tenant,
    world,
)

PARTITIONS = (12, 128)
REPLICAS = (4, 10, 48, 100, 128)
WORKERS = (1, 4, 16)
MESSAGES = 100_000
HOUR = 3_600


def rows(seed: int, tenants: int, people: int) -> list[Row]:
    """In the order of the page."""
    everybody = world(seed, tenants, people)
    found = [
        Row("people of the largest tenant", everybody.people[0], "people"),
        Row("people of the median tenant", everybody.people[tenants // 2], "people"),
        Row("share of the largest hundredth of tenants", everybody.share_of_largest(tenants // 100), "of all people"),
        Row("HR events, mean of a year", events_a_second(people), "events/s"),
        Row("HR events, busiest hour", events_a_second(people, PEAK), "events/s"),
        Row("joiners Microsoft allows one tenant", joiners_a_second_of_a_tenant(), "joiners/s"),
        Row(
            "onboarding the largest tenant from nothing, at least",
            everybody.people[0] / joiners_a_second_of_a_tenant() / HOUR,
            "h",
        ),
    ]
    fitting = POSTGRES_CONNECTIONS // CONNECTIONS_OF_AN_ORCHESTRATOR
    found.append(Row("orchestrators on a PostgreSQL of 100 connections", fitting, "replicas"))
    for partitions in PARTITIONS:
        for by_tenant, keys in ((False, "tenant and target"), (True, "tenant alone")):
            worst = spread.busiest_partition(everybody, seed, partitions, MESSAGES, by_tenant=by_tenant)
            found.append(Row(f"busiest of {partitions} partitions, keyed by {keys}", worst, "x mean"))
    for replicas in REPLICAS:
        shared = spread.partitions_of_replicas(replicas, 128)
        busiest = max(shared) * replicas / sum(shared)
        found.append(Row(f"busiest of {replicas} orchestrators, 128 partitions a topic", busiest, "x mean"))
    replies = spread.ORCHESTRATOR_TOPICS[-1]
    for partitions in PARTITIONS:
        with_work = spread.consumers_with_work(128, partitions, replies)
        found.append(
            Row(f"of 128 orchestrators, with replies to take from {partitions} partitions", with_work, "replicas")
        )
    for relays in (2, 3, 4, 16, 17):
        shards = spread.shards_of_relays(relays)
        found.append(Row(f"relays with work, of {relays} on one outbox", sum(map(bool, shards)), "relays"))
    return found + _turns(seed, tenants)


def _turns(seed: int, tenants: int) -> list[Row]:
    """Every tenant has a little to do, and the first one a bulk: the worst morning there is."""
    limits = Limits()
    found = []
    for workers in WORKERS:
        backlogs = [10_000, *([3] * (tenants - 1))]
        waited = turns.simulate(
            backlogs,
            workers,
            seed,
            people_a_step_max=joiners_a_second_of_a_tenant(),
            limits=limits,
            steps_max=100_000,
        )
        name = f"{tenants:,} tenants at once, {workers} graph-adapters"
        found += [
            Row(f"{name}: first turn, p50", percentile(waited.first_wait, 0.5), "runs"),
            Row(f"{name}: first turn, longest", max(waited.first_wait), "runs"),
            Row(f"{name}: the bulk of 10,000 is done after", waited.done[0], "runs"),
        ]
    return found


def markdown(found: Sequence[Row]) -> str:
    """As the page has it."""
    lines = [f"| {row.name} | {row.figure:,.2f} | {row.unit} |" for row in found]
    return "\n".join(["| what | figure | unit |", "|---|---|---|", *(line.replace(".00 |", " |") for line in lines)])
