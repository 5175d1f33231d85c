"""Fail each fault point a birth passes, one run each; the end is always that of the undisturbed run."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mesh_runtime import faults, migrations
from mesh_runtime.db import Database
from mesh_runtime.faults import FaultInjected
from support.certificates import Scene

pytestmark = pytest.mark.postgres


async def live(scene: Scene) -> None:
    """The whole birth; whatever a fault stops is begun again, as a consumer or worker would."""
    await again(scene.ensure)
    for _ in range(12):
        before = len(scene.said)
        await again(scene.step)
        for _, data in scene.said[before:]:
            if "operation_id" in data:
                await again(lambda data=data: scene.answer(data))


async def again(do: Callable[[], Awaitable[object]]) -> None:
    for _ in range(3):
        try:
            await do()
        except FaultInjected:
            await asyncio.sleep(0)
        else:
            return


async def end_state(db: Database) -> dict[str, int]:
    async with db.read() as tx:
        rows = await tx.exec_driver_sql("SELECT kind || ' ' || state AS what, count(*) AS n FROM credential GROUP BY 1")
        return {row.what: row.n for row in rows}


async def born(url: str, **fault: Any) -> tuple[dict[str, int], int, list[str]]:
    """One birth in a database of its own: its end state, how often it was announced, and the fault points hit."""
    await migrations.upgrade(url, "cert_manager")
    db = Database(url, application_name="test-cert-faults")
    scene = Scene(db)
    with faults.inject(**fault) if fault else faults.recording():
        await live(scene)
        hits = faults.observed()
    state = await end_state(db)
    await db.close()
    return state, scene.types().count("certs.credential activated"), hits


async def test_every_single_failure_ends_in_one_active_certificate(fresh_database) -> None:
    state, announced, hits = await born(fresh_database())
    assert state == {"certificate active": 1, "client_secret delivered": 1}
    assert announced == 1
    assert {"db.before_commit", "db.after_commit", "cert.before_step", "cert.after_issue"} <= set(hits)
    met: Counter[str] = Counter()
    for name in hits:
        met[name] += 1
        disturbed = await born(fresh_database(), name=name, n=met[name])
        assert disturbed[:2] == (state, announced), f"failing hit {met[name]} of {name}"
