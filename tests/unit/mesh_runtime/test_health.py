"""Readiness: bounded, shared between callers, and silent about reasons."""

import asyncio
import json

from mesh_runtime import health as health_module
from mesh_runtime.health import Health


async def test_each_check_has_its_verdict_and_reasons_stay_inside():
    async def well() -> None:
        pass

    async def ill() -> None:
        raise ConnectionError("postgresql://app:hunter2@db")

    verdicts = await Health({"database": well, "kafka": ill}).ready()
    assert verdicts == {"database": "ok", "kafka": "failed"}
    assert "hunter2" not in json.dumps(verdicts)


async def test_a_check_that_hangs_is_failed_in_bounded_time(monkeypatch):
    monkeypatch.setattr(health_module, "CHECK_TIMEOUT_SECONDS", 0.05)
    assert await Health({"database": asyncio.Event().wait}).ready() == {"database": "failed"}


async def test_many_callers_share_one_run():
    runs = []

    async def check() -> None:
        runs.append(1)
        await asyncio.sleep(0)

    health = Health({"database": check})
    await asyncio.gather(*(health.ready() for _ in range(20)))
    assert len(runs) == 1


async def test_a_result_is_not_remembered_for_long(monkeypatch):
    monkeypatch.setattr(health_module, "REMEMBERED_SECONDS", 0.0)
    verdicts = iter([True, False])

    async def check() -> None:
        if not next(verdicts):
            raise ConnectionError

    health = Health({"database": check})
    assert await health.ready() == {"database": "ok"}
    assert await health.ready() == {"database": "failed"}


def test_start_up_is_said_once():
    health = Health({})
    assert not health.is_started
    health.started()
    assert health.is_started
