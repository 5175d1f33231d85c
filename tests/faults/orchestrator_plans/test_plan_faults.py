"""Plans survive the failure of any statement and any commit: the end state is that of the undisturbed run.

The n-th statement (or fault point) fails for n = 1, 2, 3 ... until a run is not disturbed any more. Whoever failed is
asked again, as the consumer, the timers and the intake do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from sqlalchemy import text

from mesh_runtime import faults
from mesh_runtime.faults import FaultInjected
from orchestrator.domain.plan import Retry, Wait
from support.plan_mesh import PlanMesh, counted, empty, open_database
from support.plan_script import Behaviour, op

FAULT_POINTS = ("db.before_commit", "db.after_commit", "outbox.before_append", "outbox.after_append")
RUNS_MAX = 400


@pytest.fixture
async def db(postgres_url):
    database = await open_database(postgres_url)
    await empty(database)
    yield database
    await database.close()


def operations(_request):
    return [
        op("user", retry=Retry(first_seconds=1)),
        op("teams", "user", wait=Wait(first_seconds=2, deadline_seconds=1000, gate="licence.teams")),
        op("number", "teams"),
    ]


def compensated(db) -> PlanMesh:
    """Retried once, waited for once, refused at the end, undone."""
    behaviours = {"user": Behaviour(failures=1), "teams": Behaviour(failures=1, changes=False)}
    return PlanMesh(db, operations, {**behaviours, "number": Behaviour(outcome="refused")})


def succeeded(db) -> PlanMesh:
    return PlanMesh(db, lambda _request: [op("user"), op("group", "user")], {"user": Behaviour(), "group": Behaviour()})


async def again(work: Callable[[], Awaitable[object]]) -> None:
    """Do it until it is done; what failed is rolled back or was committed unseen."""
    for _ in range(5):
        try:
            await work()
        except FaultInjected:
            continue
        return
    raise AssertionError("it failed every time")


async def undisturbed_end(make, db) -> tuple[str, dict[str, str], set[str]]:
    mesh = make(db)
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.run_to_end()
    return await end_of(mesh, plan_id)


async def end_of(mesh: PlanMesh, plan_id: UUID) -> tuple[str, dict[str, str], set[str]]:
    assert await mesh.in_place(plan_id) == mesh.tenants[plan_id].changed
    return await mesh.state(plan_id), await mesh.states(plan_id), mesh.tenants[plan_id].changed


async def disturbed_run(mesh: PlanMesh) -> UUID:
    """The whole run with every step repeated until it is done. Commands that were lost are asked for again."""
    request = mesh.start_request()

    async def start() -> None:
        async with mesh.db.read() as tx:
            rows = await tx.execute(text("SELECT 1 FROM plan WHERE plan_id = :id"), {"id": request.plan_id})
            if rows.first():
                return
        await mesh.start(request)

    await again(start)
    for _ in range(60):
        await again(lambda: deliver_all(mesh))
        due: list[bool] = []

        async def tick(due: list[bool] = due) -> None:
            due[:] = [await mesh.tick()]

        await again(tick)
        if not due[0]:
            return request.plan_id
    raise AssertionError("the plan did not end")


async def deliver_all(mesh: PlanMesh) -> None:
    """Replies are taken until they were taken without a fault: their offsets are committed only then."""
    while True:
        commands = await mesh.collect()
        events = mesh.answers(commands)
        if not events:
            return
        await again(lambda events=events: mesh.take(events))


@pytest.mark.parametrize("make", [compensated, succeeded])
async def test_any_single_statement_may_fail(db, make):
    expected = await undisturbed_end(make, db)
    for n in range(1, RUNS_MAX):
        await empty(db)
        hit = []

        def fail(number: int, n: int = n, hit: list[int] = hit) -> None:
            if number == n:
                hit.append(number)
                raise FaultInjected(f"statement {number}")

        mesh = make(db)
        with counted(db, fail):
            plan_id = await disturbed_run(mesh)
        assert await end_of(mesh, plan_id) == expected, f"statement {n}"
        if not hit:
            return
    raise AssertionError("the run never got through undisturbed")


@pytest.mark.parametrize("point", FAULT_POINTS)
@pytest.mark.parametrize("make", [compensated, succeeded])
async def test_any_fault_point_may_fail(db, make, point):
    expected = await undisturbed_end(make, db)
    for n in range(1, RUNS_MAX):
        await empty(db)
        mesh = make(db)
        with faults.inject(point, n):
            plan_id = await disturbed_run(mesh)
            hits = faults.observed().count(point)
        assert await end_of(mesh, plan_id) == expected, f"hit {n} of {point}"
        if hits < n:
            return
    raise AssertionError("the run never got through undisturbed")
