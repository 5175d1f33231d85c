"""The timer worker on the real clock: woken by what becomes due, not by polling."""

from __future__ import annotations

import asyncio

import pytest

from mesh_runtime.clock import SystemClock
from orchestrator.adapters.db.plan_rows import TIMER_CHANNEL
from orchestrator.domain.plan import Retry
from orchestrator.entrypoints.workers_plans import PlanTimers
from support.plan_mesh import PlanMesh
from support.plan_script import Behaviour, op
from support.waiting import eventually


@pytest.fixture
async def mesh(db):
    made = PlanMesh(db, lambda _request: [op("user", retry=Retry(first_seconds=0.3))], {"user": Behaviour(failures=1)})
    object.__setattr__(made.engine, "clock", SystemClock())
    made.clock = made.engine.clock
    return made


@pytest.fixture
async def worker(mesh):
    stop = asyncio.Event()
    # A net of a minute: only the alarm can wake it in time.
    timers = PlanTimers(mesh.engine, mesh.db, channel=TIMER_CHANNEL, poll_seconds=60)
    task = asyncio.create_task(timers.run(stop))
    yield task
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_retry_is_sent_when_it_is_due(mesh, worker):
    [plan_id] = await mesh.start(mesh.start_request())
    await mesh.settle_down()
    assert await mesh.states(plan_id) == {"user": "waiting"}

    async def dispatched() -> bool:
        return (await mesh.states(plan_id))["user"] == "dispatched"

    await eventually(dispatched)
    await mesh.settle_down()
    assert await mesh.state(plan_id) == "succeeded"


async def test_the_worker_stops_while_it_sleeps(worker):
    assert not worker.done()
