"""Session hosts that die, hang, lie and babble: the end state is that of an undisturbed run, or a clear failure."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.gateway import NUMBER, ZOE, Gateway, Script, assign, command, grant, make_gateway
from support.waiting import eventually

READ, WRITE = "Get-CsOnlineUser", "Set-CsPhoneNumberAssignment"


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path)
    script.users(**{ZOE: {"Identity": "id-zoe", "LineURI": None}})
    return script


@pytest.fixture
async def gateway(postgres_url: str, script: Script, tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = await make_gateway(postgres_url, script.command(), tmp_path)
    await gateway.configure(retry_first_seconds=0.05)
    await gateway.give_credential()
    yield gateway
    await gateway.db.close()


@pytest.mark.parametrize(
    ("cmdlet", "do", "attempts"),
    [
        (READ, "die-before", 2),
        (READ, "die-after", 2),
        (WRITE, "die-before", 2),
        (WRITE, "die-after", 2),
        (READ, "hang-before", 2),
        (WRITE, "hang-before", 2),
        (WRITE, "hang-after", 2),
        (READ, "flood", 2),
        (WRITE, "flood", 2),
        (READ, "garbage", 1),
        (WRITE, "garbage", 1),
        (READ, "forge", 1),
        (WRITE, "no-newline", 1),
    ],
)
async def test_the_number_is_assigned_once_whatever_the_host_does(
    gateway: Gateway, script: Script, cmdlet: str, do: str, attempts: int
) -> None:
    await gateway.configure(execution_seconds_max=1, execution_hang_grace_seconds=0.2)
    script.faults({"cmdlet": cmdlet, "n": 1, "do": do})
    payload = assign()
    async with gateway.running():
        (reply,) = await gateway.do_all(payload, seconds=20)
    assert (reply["outcome"], reply["changed"], reply["attempts"]) == ("succeeded", True, attempts)
    assert reply["undo"] == {"operation": "teams.number.unassign", "version": 1, "params": payload["params"]}
    assert script.user()["LineURI"] == f"tel:{NUMBER}"
    assert script.effects(WRITE) == 1


@pytest.mark.parametrize("do", ["die-after", "hang-after"])
async def test_an_undo_survives_a_host_that_ends_in_the_middle(gateway: Gateway, script: Script, do: str) -> None:
    """The former policy was recorded before the write, so the reply can name it although the read shows the new one."""
    script.users(**{ZOE: {"Identity": "id-zoe", "TeamsCallingPolicy": "Old"}})
    await gateway.configure(execution_seconds_max=1, execution_hang_grace_seconds=0.2)
    script.faults({"cmdlet": "Grant-CsTeamsCallingPolicy", "n": 1, "do": do})
    async with gateway.running():
        (reply,) = await gateway.do_all(grant("TeamsCallingPolicy", "New"), seconds=20)
    assert (reply["outcome"], reply["changed"]) == ("succeeded", True)
    assert reply["undo"]["params"]["policy_name"] == "Old"
    assert len(script.calls("Grant-CsTeamsCallingPolicy")) == 1


async def test_the_rest_of_a_visit_is_not_lost_with_its_session(gateway: Gateway, script: Script) -> None:
    script.faults({"cmdlet": "Grant-CsTenantDialPlan", "n": 1, "do": "die-after"})
    payloads = [
        assign(),
        grant("TenantDialPlan", "CH"),
        grant("TeamsCallingPolicy", "Allow"),
        command("teams.user.get"),
    ]
    await gateway.accept(*payloads)
    async with gateway.running():
        replies = await gateway.await_replies(*payloads)
    assert [reply["outcome"] for reply in replies] == ["succeeded"] * 4
    assert [reply["attempts"] for reply in replies] == [1, 2, 1, 1]
    assert all(reply["changed"] for reply in replies[:3])
    for cmdlet in (WRITE, "Grant-CsTenantDialPlan", "Grant-CsTeamsCallingPolicy"):
        assert script.effects(cmdlet) == 1


@pytest.mark.parametrize("cmdlet", [READ, WRITE])
async def test_an_answer_from_another_tenant_kills_the_session_and_fails_the_operation(
    gateway: Gateway, script: Script, cmdlet: str
) -> None:
    script.faults({"cmdlet": cmdlet, "n": 1, "do": "mismatch"})
    async with gateway.running():
        (reply,) = await gateway.do_all(assign())
        (after,) = await gateway.do_all(assign())
    assert (reply["outcome"], reply["error"]["code"], reply["changed"]) == ("failed", "tenant-mismatch", False)
    assert reply["error"]["retryable"] is False
    assert after["outcome"] == "succeeded"
    first, second = await gateway.rows("SELECT reason FROM session ORDER BY session_id")
    assert (first.reason, second.reason) == ("tenant-mismatch", "shutdown")


async def test_a_session_connected_to_another_tenant_serves_nobody(gateway: Gateway, script: Script) -> None:
    script.faults({"cmdlet": "connect", "do": "mismatch"})
    async with gateway.running():
        (reply,) = await gateway.do_all(assign())
    assert (reply["outcome"], reply["error"]["code"]) == ("failed", "tenant-mismatch")
    assert script.cmdlets() == []


@pytest.mark.parametrize("do", ["die-before", "hang-before"])
async def test_a_host_that_does_not_come_up_is_started_again(gateway: Gateway, script: Script, do: str) -> None:
    await gateway.configure(session_connect_seconds_max=1)
    script.faults({"cmdlet": "connect", "n": 1, "do": do})
    async with gateway.running():
        reply = await gateway.do("teams.user.get")
    assert (reply["outcome"], reply["attempts"]) == ("succeeded", 2)


async def test_a_host_that_never_comes_up_fails_in_bounded_time(gateway: Gateway, script: Script) -> None:
    await gateway.configure(retry_attempts_max=2)
    script.faults({"cmdlet": "connect", "do": "die-before"})
    async with gateway.running():
        reply = await gateway.do("teams.user.get")
    assert (reply["outcome"], reply["error"]["code"], reply["attempts"]) == ("failed", "session-lost", 2)


async def test_a_host_that_cannot_be_started_fails_in_bounded_time(gateway: Gateway) -> None:
    await gateway.configure(retry_attempts_max=2)
    gateway.command = type(gateway.command)(("/nonexistent/pwsh",))
    async with gateway.running():
        reply = await gateway.do("teams.user.get")
    assert (reply["outcome"], reply["error"]["code"]) == ("failed", "session-lost")
    (row, *_) = await gateway.rows("SELECT state, reason FROM session ORDER BY session_id")
    assert (row.state, row.reason) == ("dead", "not-started")


async def test_a_write_that_never_gets_an_answer_is_reported_as_ambiguous_with_its_reversal(
    gateway: Gateway, script: Script
) -> None:
    await gateway.configure(retry_attempts_max=2, execution_seconds_max=1, execution_hang_grace_seconds=0.2)
    script.faults({"cmdlet": WRITE, "do": "hang-before"})
    payload = assign()
    async with gateway.running():
        (reply,) = await gateway.do_all(payload, seconds=20)
    assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "ambiguous", True)
    assert reply["undo"]["operation"] == "teams.number.unassign"


async def test_terminating_a_busy_session_does_its_work_again(gateway: Gateway, script: Script) -> None:
    script.faults({"cmdlet": WRITE, "n": 1, "do": "hang-after"})
    payload = assign()
    async with gateway.running():
        await gateway.accept(payload)
        await eventually(lambda: script.effects(WRITE) == 1)
        (row,) = await eventually(lambda: gateway.rows("SELECT session_id FROM session WHERE state = 'busy'"))
        async with gateway.db.transaction() as tx:
            assert await gateway.parts.sessions.ask_to_terminate(tx, row.session_id, "admin")
            await gateway.parts.bell.control(tx)
        (reply,) = await gateway.await_replies(payload)
    assert (reply["outcome"], reply["changed"], reply["attempts"]) == ("succeeded", True, 2)
    (first, _) = await gateway.rows("SELECT reason, terminate_by FROM session ORDER BY session_id")
    assert (first.reason, first.terminate_by) == ("terminated by admin", "admin")


async def test_a_drained_worker_finishes_what_it_began(gateway: Gateway, script: Script) -> None:
    script.faults({"cmdlet": WRITE, "n": 1, "do": "slow", "seconds": 1})
    payload = assign()
    async with gateway.running():
        await gateway.accept(payload)
        await eventually(lambda: bool(script.calls(READ)))
    await gateway.collect()
    reply: dict[str, Any] = gateway.replies[payload["operation_id"]]
    assert (reply["outcome"], reply["attempts"]) == ("succeeded", 1)
    assert script.effects(WRITE) == 1
