"""The process dies or fails at every named point of an operation's way; afterwards all is as if nothing had been.

Undisturbed: the number is assigned once, the policy granted once, each operation has exactly one reply, and the replies
name what was there before.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from mesh_messaging.testing import drain_outbox
from mesh_runtime import faults
from support.gateway import NUMBER, ZOE, Gateway, Script, assign, grant, make_gateway
from support.killing import await_gone
from support.waiting import eventually

WRITES = ("Set-CsPhoneNumberAssignment", "Grant-CsTeamsCallingPolicy")
GATEWAY_POINTS = sorted(
    [
        "gateway.after_lease",
        "gateway.before_write",
        "gateway.after_write",
        "gateway.before_finish",
        "gateway.after_finish",
    ]
)

PATIENT = 600
"""Seconds until the deadline of a command: a busy machine starts processes slowly, and that is not what is tested."""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path)
    script.users(**{ZOE: {"Identity": "id-zoe", "LineURI": None, "TeamsCallingPolicy": "Old"}})
    return script


@pytest.fixture
async def gateway(postgres_url: str, script: Script, tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = await make_gateway(postgres_url, script.command(), tmp_path, lease_seconds=1)
    await gateway.configure(retry_first_seconds=0.05)
    await gateway.give_credential()
    yield gateway
    await gateway.db.close()


async def replies_of(gateway: Gateway, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Every reply in the outbox, read past the fault points."""
    found: dict[str, list[dict[str, Any]]] = {identifier: [] for identifier in ids}
    async with gateway.db.engine.begin() as tx:
        for message in await drain_outbox(tx):
            if message.event.type.endswith("completed"):
                payload = message.event.json()
                found[payload["operation_id"]].append(payload)
    return found


async def done(gateway: Gateway) -> bool:
    rows = await _rows(gateway, "SELECT count(*) FILTER (WHERE state <> 'done') AS left FROM operation")
    return bool(rows[0].left == 0)


async def _rows(gateway: Gateway, statement: str) -> Any:
    async with gateway.db.engine.begin() as tx:
        return (await tx.execute(text(statement))).all()


async def check(gateway: Gateway, script: Script, payloads: list[dict[str, Any]]) -> None:
    ids = [payload["operation_id"] for payload in payloads]
    replies = await replies_of(gateway, ids)
    assert {identifier: len(found) for identifier, found in replies.items()} == dict.fromkeys(ids, 1)
    assigned, granted = (replies[identifier][0] for identifier in ids)
    assert (assigned["outcome"], assigned["changed"]) == ("succeeded", True)
    assert assigned["undo"]["operation"] == "teams.number.unassign"
    assert (granted["outcome"], granted["changed"]) == ("succeeded", True)
    assert granted["undo"]["params"]["policy_name"] == "Old"
    assert script.user()["LineURI"] == f"tel:{NUMBER}"
    assert script.user()["TeamsCallingPolicy"] == "New"
    for cmdlet in WRITES:
        assert script.effects(cmdlet) == 1


async def hits(gateway: Gateway) -> dict[str, int]:
    """How often each point is passed in an undisturbed run of the same work."""
    payloads = [assign(seconds=PATIENT), grant("TeamsCallingPolicy", "New", seconds=PATIENT)]
    with faults.recording() as observed:
        await gateway.accept(*payloads)
        async with gateway.running():
            await eventually(lambda: done(gateway))
    counts: dict[str, int] = {}
    for name in observed:
        counts[name] = counts.get(name, 0) + 1
    return counts


async def test_the_points_are_on_the_way(gateway: Gateway) -> None:
    assert set(GATEWAY_POINTS) | {"db.before_commit", "db.after_commit"} <= set(await hits(gateway))


@pytest.mark.parametrize(
    ("point", "n"),
    [
        *((point, 1) for point in GATEWAY_POINTS),
        ("gateway.before_write", 2),
        ("gateway.after_write", 2),
        *((point, n) for point in ("db.before_commit", "db.after_commit") for n in range(1, 9)),
        ("outbox.before_append", 1),
        ("outbox.after_append", 1),
    ],
)
async def test_an_error_at_the_nth_pass_changes_nothing_in_the_end(
    gateway: Gateway, script: Script, point: str, n: int
) -> None:
    payloads = [assign(seconds=PATIENT), grant("TeamsCallingPolicy", "New", seconds=PATIENT)]
    await gateway.accept(*payloads)
    worker = gateway.worker()
    stop = asyncio.Event()
    with faults.inject(point, n, "error"):
        task = asyncio.create_task(worker.run(stop))
        await eventually(lambda: _ended_or_done(task, gateway), seconds=20)
    if task.done():
        # The role ended (it reads its settings first); the process would be started again.
        assert task.exception() is not None
        task = asyncio.create_task(gateway.another().worker().run(stop))
    await eventually(lambda: done(gateway), seconds=20)
    stop.set()
    await task
    await check(gateway, script, payloads)


async def _ended_or_done(task: asyncio.Task[None], gateway: Gateway) -> bool:
    return task.done() or await done(gateway)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("point", "n"),
    [
        *((point, 1) for point in GATEWAY_POINTS),
        ("gateway.after_write", 2),
        *((point, n) for point in ("db.before_commit", "db.after_commit") for n in (2, 3, 4, 5)),
    ],
)
async def test_a_killed_process_changes_nothing_in_the_end(
    gateway: Gateway, script: Script, tmp_path: Path, point: str, n: int
) -> None:
    payloads = [assign(seconds=PATIENT), grant("TeamsCallingPolicy", "New", seconds=PATIENT)]
    await gateway.accept(*payloads)
    killed = await _process(gateway, script, {"UCMESH_FAULTS": f"{point}@{n}=kill"})
    try:
        died = await eventually(
            lambda: _died_or_done(killed, gateway), seconds=60, what="the process to die or the work to be done"
        )
        if died == "died":
            assert killed.returncode == -signal.SIGKILL
        if not await done(gateway):
            await _let_another_finish(gateway, script)
    finally:
        if killed.returncode is None:
            killed.kill()
            await killed.wait()
    await check(gateway, script, payloads)


@pytest.mark.timeout(180)
async def test_a_killed_gateway_leaves_no_session_behind_that_could_still_write(
    gateway: Gateway, script: Script
) -> None:
    script.faults({"cmdlet": "Get-CsOnlineUser", "n": 1, "do": "hang-before"})
    await gateway.accept(assign(seconds=PATIENT))
    process = await _process(gateway, script, {})
    await eventually(lambda: _busy_session(gateway), seconds=60)
    (host,) = psutil.Process(process.pid).children()
    folder = Path(host.cwd())
    process.kill()
    await process.wait()
    await_gone([host.pid])
    assert folder.exists()
    await _let_another_finish(gateway, script, buried=True)
    assert not folder.exists()


async def _busy_session(gateway: Gateway) -> bool:
    return bool(await _rows(gateway, "SELECT 1 FROM session WHERE state = 'busy'"))


async def _buried(gateway: Gateway) -> bool:
    return bool(await _rows(gateway, "SELECT 1 FROM session WHERE state = 'dead' AND reason = 'gateway-lost'"))


async def _let_another_finish(gateway: Gateway, script: Script, *, buried: bool = False) -> None:
    second = await _process(gateway, script, {})
    try:
        await eventually(lambda: done(gateway), seconds=60)
        if buried:
            await eventually(lambda: _buried(gateway), seconds=30)
    finally:
        second.terminate()
        await second.wait()
    assert second.returncode == 0


async def _died_or_done(process: asyncio.subprocess.Process, gateway: Gateway) -> str | None:
    if process.returncode is not None:
        return "died"
    return "done" if await done(gateway) else None


async def _process(gateway: Gateway, script: Script, extra: dict[str, str]) -> asyncio.subprocess.Process:
    settings = gateway.parts.settings
    environment = {
        **os.environ,
        "PWSH_GATEWAY_DATABASE_URL": settings.database_url.get_secret_value(),
        "PWSH_GATEWAY_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "PWSH_GATEWAY_OIDC_ISSUER": settings.oidc_issuer,
        "PWSH_GATEWAY_HTTP_PORT": "0",
        "PWSH_GATEWAY_KEK_FILE": str(settings.kek_file),
        "PWSH_GATEWAY_BACKEND": "simulated",
        "PWSH_GATEWAY_SIMULATED_COMMAND": " ".join(script.command().argv),
        "PWSH_GATEWAY_LEASE_SECONDS": "1",
        **extra,
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "pwsh_gateway", "worker", env=environment)
