"""The worker on a real PostgreSQL with a scripted session host: queue, visits, replies, sessions, settings."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh_runtime import telemetry
from pwsh_gateway import main
from pwsh_gateway.application import ReplaceRules
from pwsh_gateway.application.follow_controls import FollowControls
from support.gateway import (
    NUMBER,
    OTHER_TENANT,
    TENANT,
    ZOE,
    Gateway,
    Script,
    assign,
    command,
    grant,
    make_gateway,
)
from support.waiting import eventually

ADAM = "adam.keller@northwind.example"


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = Script(tmp_path)
    script.users(**{ZOE: {"Identity": "id-zoe", "LineURI": None}, ADAM: {"Identity": "id-adam", "LineURI": None}})
    return script


@pytest.fixture
async def gateway(postgres_url: str, script: Script, tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = await make_gateway(postgres_url, script.command(), tmp_path)
    yield gateway
    await gateway.db.close()


async def test_a_number_is_assigned_and_the_reply_says_how_to_undo_it(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    async with gateway.running():
        payload = assign(plan_id=str(uuid.uuid4()))
        (reply,) = await gateway.do_all(payload)
    assert reply["outcome"] == "succeeded"
    assert reply["changed"] is True
    assert reply["undo"] == {"operation": "teams.number.unassign", "version": 1, "params": payload["params"]}
    assert reply["attempts"] == 1
    assert script.user()["LineURI"] == f"tel:{NUMBER}"
    (message,) = [m for m in gateway.events if m.event.type.endswith("completed")]
    assert (message.topic, message.key) == ("ucmesh.orchestrator.replies.v1", payload["plan_id"])
    assert message.event.tenant == TENANT


async def test_operations_of_one_user_share_one_read_and_one_session(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
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
    assert script.cmdlets() == [
        "Get-CsOnlineUser",
        "Set-CsPhoneNumberAssignment",
        "Grant-CsTenantDialPlan",
        "Grant-CsTeamsCallingPolicy",
        "Get-CsOnlineUser",
    ]
    assert replies[3]["output"]["user"]["LineURI"] == f"tel:{NUMBER}"
    assert len(script.calls("connect")) == 1


async def test_a_re_delivered_command_gets_the_stored_reply_and_runs_once(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    payload = assign()
    async with gateway.running():
        first = await gateway.do_all(payload)
        gateway.replies.clear()
        (again,) = await gateway.do_all(payload)
    assert again == first[0]
    assert script.effects("Set-CsPhoneNumberAssignment") == 1


async def test_the_same_command_twice_in_one_batch_runs_once(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    payload = assign()
    async with gateway.running():
        await gateway.do_all(payload, payload)
    assert script.effects("Set-CsPhoneNumberAssignment") == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (command("exchange.mailbox.delete"), "unknown-operation"),
        (command("teams.user.get", version=9), "unknown-operation"),
        (command("teams.user.get", params={}), "invalid-params"),
        (command("teams.user.get", params={"identity": "*"}), "invalid-params"),
        (grant("TeamsCallingPolicy", "A; Remove-CsOnlineUser *", target="*"), "invalid-params"),
    ],
)
async def test_what_is_refused_is_answered_before_anything_runs(
    gateway: Gateway, script: Script, payload: dict[str, Any], code: str
) -> None:
    await gateway.accept(payload, payload)
    await gateway.collect()
    reply = gateway.replies[payload["operation_id"]]
    assert (reply["outcome"], reply["error"]["code"], reply["attempts"]) == ("refused", code, 0)
    assert script.calls() == []


async def test_a_user_that_is_not_there_yet_fails_at_once_so_that_the_caller_can_wait(gateway: Gateway) -> None:
    await gateway.give_credential()
    async with gateway.running():
        reply = await gateway.do("teams.user.get", target="nobody@northwind.example")
    assert reply["outcome"] == "failed"
    assert (reply["error"]["code"], reply["error"]["retryable"], reply["attempts"]) == ("not-found", True, 1)


async def test_transient_errors_are_tried_again_within_bounds(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    await gateway.configure(retry_first_seconds=0.05, retry_attempts_max=3)
    busy = {"message": "The service is temporarily unavailable", "http": 503}
    script.faults(
        {"cmdlet": "Get-CsOnlineUser", "n": 1, "do": "error", "error": busy},
        {"cmdlet": "Grant-CsTenantDialPlan", "do": "error", "error": busy},
    )
    async with gateway.running():
        good = await gateway.do("teams.user.get")
        (bad,) = await gateway.do_all(grant("TenantDialPlan", "CH", target=ADAM))
    assert (good["outcome"], good["attempts"]) == ("succeeded", 2)
    assert (bad["outcome"], bad["attempts"]) == ("failed", 3)
    assert bad["error"]["code"] == "ambiguous"
    assert bad["undo"]["params"]["policy_name"] is None
    assert len(script.calls("Grant-CsTenantDialPlan")) == 3


async def test_later_operations_of_a_user_wait_for_an_earlier_one_but_other_users_do_not(
    gateway: Gateway, script: Script
) -> None:
    await gateway.give_credential()
    await gateway.configure(retry_first_seconds=1.0)
    busy = {"message": "The service is temporarily unavailable"}
    script.faults({"cmdlet": "Grant-CsTenantDialPlan", "n": 1, "do": "error", "error": busy})
    first, second = grant("TenantDialPlan", "CH"), grant("TenantDialPlan", "DE")
    other = grant("TeamsCallingPolicy", "Allow", target=ADAM)
    await gateway.accept(first, second, other)
    async with gateway.running():
        await gateway.await_replies(other)
        assert first["operation_id"] not in gateway.replies
        await gateway.await_replies(first, second)
    assert script.user()["TenantDialPlan"] == "DE"
    assert gateway.replies[second["operation_id"]]["output"] == {"former": "CH"}


async def test_urgent_work_overtakes_and_tenants_take_turns(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential(customer="northwind")
    await gateway.give_credential(OTHER_TENANT, customer="fabrikam")
    await gateway.configure(concurrency_global_max=1)
    users = {f"u{n}@northwind.example": {"Identity": str(n)} for n in range(6)}
    script.users(**users)
    names = list(users)
    bulk = [command("teams.user.get", target=name, lane="bulk") for name in names[:3]]
    normal = [command("teams.user.get", target=name, tenant_id=OTHER_TENANT) for name in names[3:5]]
    urgent = command("teams.user.get", target=names[5], lane="urgent")
    await gateway.accept(*bulk, *normal, urgent)
    async with gateway.running():
        await gateway.await_replies(*bulk, *normal, urgent)
    served = [call["params"]["Identity"] for call in script.calls("Get-CsOnlineUser")]
    assert served[0] == names[5]
    assert set(served[1:3]) == set(names[3:5])
    assert {call["tenant"] for call in script.calls("Get-CsOnlineUser")} == {TENANT, OTHER_TENANT}
    assert len({call["pid"] for call in script.calls("Get-CsOnlineUser")}) >= 2


async def test_no_session_serves_two_tenants_or_modules(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    await gateway.give_credential(OTHER_TENANT, customer="fabrikam")
    work = [
        command(name, tenant_id=tenant, target=who)
        for who in (ZOE, ADAM)
        for tenant in (TENANT, OTHER_TENANT)
        for name in ("teams.user.get", "exchange.mailbox.get")
    ]
    async with gateway.running():
        await gateway.do_all(*work)
    by_pid: dict[int, set[tuple[str, str]]] = {}
    for call in script.calls():
        if call["cmdlet"] != "connect":
            module = "teams" if "Cs" in call["cmdlet"] else "exchange"
            by_pid.setdefault(call["pid"], set()).add((call["tenant"], module))
    assert all(len(served) == 1 for served in by_pid.values())


async def test_an_operation_waits_for_its_credential_and_goes_on_when_it_comes(gateway: Gateway) -> None:
    payload = command("teams.user.get")
    async with gateway.running():
        await gateway.accept(payload)
        await eventually(lambda: gateway.rows("SELECT 1 FROM operation WHERE state = 'queued' AND not_before > now()"))
        await gateway.give_credential()
        async with gateway.db.transaction() as tx:
            await gateway.parts.queue.hasten(tx, TENANT, gateway.parts.clock.now())
            await gateway.parts.bell.work(tx)
        (reply,) = await gateway.await_replies(payload, seconds=4)
    assert reply["outcome"] == "succeeded"


async def test_without_a_credential_it_fails_in_bounded_time(gateway: Gateway) -> None:
    await gateway.configure(credential_wait_seconds_max=0)
    async with gateway.running():
        reply = await gateway.do("teams.user.get")
    assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "credential", True)


async def test_a_refused_log_in_fails_the_operation_and_pauses_the_tenant(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    refused = {"message": "AADSTS700027: The certificate with identifier used to sign the client assertion"}
    script.faults({"cmdlet": "connect", "n": 1, "do": "error", "error": refused})
    async with gateway.running() as worker:
        reply = await gateway.do("teams.user.get")
        assert worker.seats.paused_tenants() == [TENANT]
        # A new certificate ends the pause at once.
        await gateway.give_credential()
        after = await gateway.do("teams.user.get")
    assert (reply["error"]["code"], reply["outcome"]) == ("credential", "failed")
    assert after["outcome"] == "succeeded"


async def test_a_canary_uses_a_session_of_its_own_that_ends_with_it(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential(client_id="active")
    canary = await gateway.give_credential(active=False, client_id="canary")
    async with gateway.running() as worker:
        await gateway.do("teams.user.get")
        reply = await gateway.do("teams.tenant.probe", params={}, credential=str(canary))
        await gateway.do("teams.user.get")
        await eventually(lambda: gateway.rows("SELECT 1 FROM session WHERE canary AND state = 'dead'"))
        assert len(worker.sessions.pids()) == 1
    assert reply["outcome"] == "succeeded"
    assert [call["client"] for call in script.calls("connect")] == ["active", "canary"]
    (row,) = await gateway.rows("SELECT reason FROM session WHERE canary")
    assert row.reason == "canary-done"


async def test_a_new_credential_drains_the_sessions_of_the_old_one(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential(client_id="old")
    async with gateway.running():
        await gateway.do("teams.user.get")
        await gateway.give_credential(client_id="new")
        await eventually(
            lambda: gateway.rows("SELECT 1 FROM session WHERE reason = 'credential-rotated' AND state = 'dead'")
        )
        await gateway.do("teams.user.get")
    assert [call["client"] for call in script.calls("connect")] == ["old", "new"]


async def test_sessions_and_executions_are_written_down_and_events_are_told(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    payload = assign()
    with telemetry.recording() as spans:
        async with gateway.running():
            await gateway.accept(payload, traceparent=trace)
            await gateway.await_replies(payload)
    await gateway.collect()
    rows = await gateway.rows("SELECT * FROM execution ORDER BY execution_id")
    assert [(row.cmdlet, row.outcome, row.attempt) for row in rows] == [
        ("Get-CsOnlineUser", "succeeded", 1),
        ("Set-CsPhoneNumberAssignment", "succeeded", 1),
    ]
    assert {str(row.operation_id) for row in rows} == {payload["operation_id"]}
    assert {row.trace_id for row in rows} == {"0af7651916cd43dd8448eb211c80319c"}
    (session,) = await gateway.rows("SELECT * FROM session")
    assert {row.session_id for row in rows} == {session.session_id}
    assert (session.state, session.reason, session.executions) == ("dead", "shutdown", 2)
    told = [(m.event.type, m.event.json()["reason"]) for m in gateway.events if "session" in m.event.type]
    assert told == [("ucmesh.pwsh.session.v1.started", None), ("ucmesh.pwsh.session.v1.ended", "shutdown")]
    (span,) = spans.named("cmdlet Set-CsPhoneNumberAssignment")
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.attributes is not None
    assert span.attributes["ucmesh.session_id"] == str(session.session_id)
    assert span.attributes["ucmesh.outcome"] == "succeeded"
    (reply,) = [m for m in gateway.events if m.event.type.endswith("completed")]
    assert reply.event.traceparent == trace


async def test_idle_sessions_are_reaped_and_evicted_for_others(gateway: Gateway) -> None:
    await gateway.give_credential()
    await gateway.give_credential(OTHER_TENANT, customer="fabrikam")
    await gateway.configure(concurrency_global_max=1)
    async with gateway.running():
        await gateway.do("teams.user.get")
        await gateway.do("teams.user.get", tenant_id=OTHER_TENANT)
        await gateway.configure(session_idle_seconds_max=1)
        await gateway.do("teams.user.get")
        await eventually(lambda: gateway.rows("SELECT 1 FROM session WHERE state = 'dead' AND reason = 'idle'"))
    reasons = [row.reason for row in await gateway.rows("SELECT reason FROM session ORDER BY session_id")]
    assert reasons == ["evicted", "evicted", "idle"]


async def test_a_session_ends_after_enough_executions(gateway: Gateway) -> None:
    await gateway.give_credential()
    await gateway.configure(session_executions_max=2)
    async with gateway.running():
        for _ in range(5):
            await gateway.do("teams.user.get")
    reasons = [row.reason for row in await gateway.rows("SELECT reason FROM session ORDER BY session_id")]
    assert reasons == ["max-executions", "max-executions", "shutdown"]


async def test_a_session_that_grows_is_killed_and_its_operation_done_again(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    await gateway.configure(session_memory_soft_mb=60, session_memory_hard_mb=80, retry_first_seconds=0.05)
    script.faults({"cmdlet": "Get-CsOnlineUser", "n": 1, "do": "grow", "megabytes": 150})
    async with gateway.running():
        await gateway.do("teams.user.get")
        await eventually(
            lambda: gateway.rows("SELECT 1 FROM session WHERE reason = 'memory-hard' AND memory_bytes > 8e7")
        )
        reply = await gateway.do("teams.user.get")
    assert reply["outcome"] == "succeeded"


async def test_an_expired_deadline_is_not_begun(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    async with gateway.running():
        reply = await gateway.do("teams.user.get", seconds=-1)
    assert (reply["outcome"], reply["error"]["code"]) == ("failed", "deadline-exceeded")
    assert script.calls() == []


async def test_two_replicas_share_the_queue_and_nothing_runs_twice(gateway: Gateway, script: Script) -> None:
    await gateway.give_credential()
    users = {f"u{n}@northwind.example": {"Identity": str(n), "LineURI": None} for n in range(20)}
    script.users(**users)
    work = [assign(f"+4144555{n:04}", target=name) for n, name in enumerate(users)]
    await gateway.accept(*work)
    async with gateway.running(gateway.another()):
        replies = await gateway.await_replies(*work)
    assert all(reply["outcome"] == "succeeded" and reply["changed"] for reply in replies)
    assert len(script.calls("Set-CsPhoneNumberAssignment")) == 20
    owners = await gateway.rows("SELECT DISTINCT instance FROM session")
    assert len(owners) == 2


async def test_no_secret_is_in_the_arguments_or_the_environment_of_a_host(gateway: Gateway) -> None:
    await gateway.give_credential(pfx="cGZ4LXNlY3JldA==", password="open sesame")
    async with gateway.running() as worker:
        await gateway.do("teams.user.get")
        (pid,) = worker.sessions.pids()
        told = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        home = psutil.Process(pid).cwd()
        assert f"HOME={home}".encode() in told
    for secret in (b"open sesame", b"cGZ4LXNlY3JldA==", b"postgresql://", b"PWSH_GATEWAY_"):
        assert secret not in told
    assert not Path(home).exists()


async def test_settings_survive_and_an_unknown_one_does_no_harm(gateway: Gateway) -> None:
    await gateway.configure(concurrency_global_max=3)
    await gateway.rows("UPDATE config_change SET config = config || '{\"gone.key\": 1}' RETURNING 1")
    async with gateway.db.read() as tx:
        config = await gateway.parts.stored_settings.config(tx)
    assert config.concurrency_global_max == 3


async def test_edited_error_rules_are_used_and_not_overwritten_at_the_next_start(
    gateway: Gateway, script: Script
) -> None:
    await gateway.give_credential()
    replace = ReplaceRules(
        gateway.parts.stored_settings, gateway.parts.bell, gateway.db.transaction, gateway.parts.clock
    )
    rule = {"id": "ours", "match": {"message": "not found"}, "class": "business", "action": "fail", "code": "our-code",
            "outcome": "refused"}  # fmt: skip
    async with gateway.running() as worker:
        await replace([rule], "admin")
        controls = worker.refresh
        assert isinstance(controls, FollowControls)
        await eventually(lambda: len(controls.rules.rules) == 1)
        reply = await gateway.do("teams.user.get", target="nobody@northwind.example")
    assert (reply["outcome"], reply["error"]["code"]) == ("refused", "our-code")
    await main.seed(gateway.parts)
    async with gateway.db.read() as tx:
        assert len((await gateway.parts.stored_settings.rules(tx)).rules) == 1


async def test_old_rows_are_forgotten(gateway: Gateway) -> None:
    await gateway.give_credential()
    async with gateway.running() as worker:
        await gateway.do("teams.user.get")
    for table, column in (("operation", "finished_at"), ("execution", "started_at"), ("session", "ended_at")):
        await gateway.rows(f"UPDATE {table} SET {column} = {column} - interval '31 days' RETURNING 1")
    assert await worker.forget(worker.config()) == 3
    assert await worker.forget(worker.config()) == 0
