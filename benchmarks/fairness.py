"""What one tenant's trouble and one customer's bulk do to everybody else.

    python benchmarks/fairness.py [--tenants 50] [--rate 40] [--seconds 25] [--rounds 2] [--bulk 10000] [--json FILE]

throttled   `--tenants` customers with a tenant each; HR sends `--rate` joiners a second, to all of them in turn, one a
            request. By turns, `--rounds` times each, nobody is throttled, or one tenant answers every request with 429
            and Retry-After: 5. Times of all the others, from before the HTTP request to the end of the plan.
bulk        `--bulk` joiners of one customer in requests of 500; once they are taken in, one more joiner of the same
            customer every second, alone in its request. What share of the time that the bulk still took did it take?
            Plans of a bulk end near its end, so having ended before most of them would say little. A person alone is
            in the lane `urgent`, a file of more than 20 in `bulk`; leavers, who will be urgent too, are not in this
            release.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from joining import office
from joining.mesh import epoch
from joining.stand import Stand, options, standing
from reporting import program
from reporting.figures import Report, Row, at_most, percentile

from mesh_messaging.envelope import STRUCTURED_TYPE

P99_GOAL = 1.2
BULK_SHARE_GOAL = 0.1
RETRY_AFTER_SECONDS = 5
COUNTED_SHARE_MIN = 0.5
"""Singles sent when less than this of the bulk's time was left are not counted: little is left to overtake."""
SINGLES_MAX = 20
SINGLE_EVERY_SECONDS = 1.0

Person = Mapping[str, Any]
Sent = list[tuple[office.Tenant, Person, float]]


async def measure(home: Path, given: Any) -> list[Row]:
    tenants = [office.Tenant(f"fair-{n + 1:03d}") for n in range(given.tenants)]
    seats = given.rate * given.seconds * given.rounds * 2 + given.bulk + SINGLES_MAX + 10
    async with standing(home, options(given.seed)) as stand:
        await stand.settle(tenants, seats)
        load = program.OtherLoad()
        rows = await stand.unless_a_part_dies(_throttled(stand, tenants, given))
        rows += await stand.unless_a_part_dies(_bulk(stand, tenants[0], given))
        return [*rows, Row("fairness, other load", load.share(), "share of the machine")]


async def _throttled(stand: Stand, tenants: Sequence[office.Tenant], given: Any) -> list[Row]:
    hit, others = tenants[0], tenants[1:]
    await _steady(stand, others, office.people(given.seed, "WARM", given.rate * given.seconds // 2), given.rate)
    await asyncio.to_thread(stand.mesh.until_idle)
    quiet: list[float] = []
    beside: list[float] = []
    for number in range(given.rounds):
        for times, throttled in ((quiet, False), (beside, True)):
            people = office.people(given.seed, f"R{number}{'T' if throttled else 'Q'}", given.rate * given.seconds)
            if throttled:
                await _throttle(stand, hit)
            sent = await _steady(stand, tenants, people, given.rate)
            if throttled:
                await stand.simulator("DELETE", f"/_sim/tenants/{hit.tenant_id}/faults")
            await asyncio.to_thread(stand.mesh.until_idle)
            times.extend(await asyncio.to_thread(_seconds, stand, [one for one in sent if one[0] is not hit]))
    before, after = percentile(quiet, 0.99), percentile(beside, 0.99)
    name = f"{len(others)} tenants"
    return [
        Row(f"{name}, nobody throttled, p50", percentile(quiet, 0.5) * 1e3, "ms"),
        Row(f"{name}, nobody throttled, p99", before * 1e3, "ms"),
        Row(f"{name} beside a throttled one, p50", percentile(beside, 0.5) * 1e3, "ms"),
        Row(f"{name} beside a throttled one, p99", after * 1e3, "ms"),
        at_most(f"{name}, p99 beside a throttled one / without", after / before, "x", P99_GOAL),
    ]


async def _throttle(stand: Stand, tenant: office.Tenant) -> None:
    fault = {"action": "status", "status": 429, "retry_after_seconds": RETRY_AFTER_SECONDS, "times": 0}
    await stand.simulator("POST", f"/_sim/tenants/{tenant.tenant_id}/faults", json=fault)


async def _steady(stand: Stand, tenants: Sequence[office.Tenant], people: Sequence[Person], rate: int) -> Sent:
    """One a request, at the times of a clock, whatever becomes of those before."""
    sent: Sent = []
    sending = []
    began = time.monotonic()
    for place, person in enumerate(people):
        await asyncio.sleep(max(began + place / rate - time.monotonic(), 0))
        tenant = tenants[place % len(tenants)]
        sent.append((tenant, person, time.time()))
        sending.append(asyncio.create_task(_send_alone(stand, tenant, person)))
    await asyncio.gather(*sending)
    return sent


async def _send_alone(stand: Stand, tenant: office.Tenant, person: Person) -> None:
    body = orjson.dumps(office.hr_event(person, tenant))
    await asyncio.to_thread(stand.api.send, "orchestrator", "/hr/events", body, STRUCTURED_TYPE)


def _seconds(stand: Stand, sent: Sent) -> list[float]:
    """From each one's request to the end of its plan."""
    found = []
    for tenant in {one[0] for one in sent}:
        own = [(person, at) for its, person, at in sent if its is tenant]
        plans = stand.mesh.plans([person for person, _ in own], tenant)
        found += [epoch(plans[person["employee_id"]]["finished_at"]) - at for person, at in own]
    return found


async def _bulk(stand: Stand, tenant: office.Tenant, given: Any) -> list[Row]:
    bulk, singles = office.people(given.seed, "BULK", given.bulk), office.people(given.seed, "ALONE", SINGLES_MAX)
    began = await asyncio.to_thread(stand.mesh.send, bulk, tenant)
    idle = asyncio.create_task(asyncio.to_thread(stand.mesh.until_idle))
    sent: Sent = []
    for person in singles:
        if idle.done():
            break
        sent.append((tenant, person, time.time()))
        await _send_alone(stand, tenant, person)
        await asyncio.wait({idle}, timeout=SINGLE_EVERY_SECONDS)
    await idle
    await asyncio.to_thread(stand.mesh.until_idle)
    plans = await asyncio.to_thread(stand.mesh.plans, bulk, tenant)
    ends = sorted(epoch(plan["finished_at"]) for plan in plans.values())
    seconds = await asyncio.to_thread(_seconds, stand, sent)
    shares, took = [], []
    for (_, _, at), lasted in zip(sent, seconds, strict=True):
        if ends[-1] - at >= COUNTED_SHARE_MIN * (ends[-1] - began):
            shares.append(lasted / (ends[-1] - at))
            took.append(lasted)
    name = f"single user in a bulk of {len(bulk):,}"
    rows = [Row(f"{name}, the bulk itself", ends[-1] - began, "s"), Row(f"{name}, sent", len(took), "users")]
    if not took:
        return rows  # a small bulk is over before anybody comes
    return [
        *rows,
        Row(f"{name}, p50", percentile(took, 0.5), "s"),
        Row(f"{name}, longest", max(took), "s"),
        at_most(f"{name}, longest share of what the bulk still took", max(shares), "x s", BULK_SHARE_GOAL),
    ]


def main(argv: Sequence[str]) -> None:
    sizes = {"tenants": (50, 2), "rate": (40, 4), "seconds": (25, 2), "rounds": (2, 1), "bulk": (10_000, 40)}
    texts = {
        "tenants": "one of them is throttled",
        "rate": "joiners a second, over all tenants",
        "seconds": "of one stretch",
        "rounds": "stretches of each kind",
        "bulk": "joiners of one customer at once",
    }
    given = program.arguments(__doc__, argv, sizes, texts)
    with program.folder() as home:
        rows = program.run(measure(home, given))
    settings = {"seed": given.seed} | {name: getattr(given, name) for name in sizes}
    Report("fairness", "Beside a throttled tenant, and in a bulk", rows, settings).publish(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
