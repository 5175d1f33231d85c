"""The worker's process is killed (SIGKILL) at every fault point of its own; another worker finds what it left and
finishes it.
"""

import asyncio
import signal
from pathlib import Path

import pytest

from graph_adapter.application import lease_operations, run_operations, send_round, settle_round
from mesh_runtime import faults
from support.graph_process import environment, process
from support.graph_rig import Rig, ensure
from support.simulated import Simulator, Tenant

POINTS = (
    lease_operations.LEASED,
    run_operations.SIGNED_IN,
    send_round.BEFORE_SEND,
    send_round.ANSWERED,
    settle_round.BEFORE_SETTLE,
    settle_round.SETTLED,
)


def test_every_point_of_this_service_is_killed_at() -> None:
    assert set(POINTS) == {name for name in faults.registry() if name.startswith("graph.")}


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at(
    point: str, idle_rig: Rig, tenant: Tenant, simulator: Simulator, postgres_url: str, tmp_path: Path
) -> None:
    rig = idle_rig
    await rig.activate(tenant)
    order = rig.order(tenant, "user.ensure", ensure(tenant, "ada"))
    await rig.send(order)
    env = environment(simulator, postgres_url, "127.0.0.1:1", tmp_path, 0)
    async with process({**env, "UCMESH_FAULTS": f"{point}@1=kill"}, "worker", log=tmp_path / "log") as dying:
        assert await asyncio.wait_for(dying.wait(), 60) == -signal.SIGKILL, (tmp_path / "log").read_text()
    async with rig.working():
        reply = await rig.reply(order["operation_id"])
        assert reply["outcome"] == "succeeded"
        assert (reply["output"]["created"], reply["undo"]["operation"]) == (True, "user.delete")
        assert len(tenant.state("users")) == 1
        await rig.undo(tenant, reply)
        assert tenant.state("users") == []
