"""The worker on a real PostgreSQL with a scripted session host: sessions and the credentials behind them."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from mesh_runtime import telemetry
from pwsh_gateway.domain.sessions import SessionKey, SessionRecord
from support.gateway import ADAM, OTHER_TENANT, TENANT, ZOE, Gateway, Script, assign, command
from support.waiting import eventually


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


async def test_the_death_of_a_session_is_the_last_word(gateway: Gateway) -> None:
    now = datetime.now(UTC)
    busy = SessionRecord(
        session_id=uuid.uuid4(), key=SessionKey(TENANT, "MicrosoftTeams", uuid.uuid4()), customer="northwind",
        canary=False, state="busy", pid=7, module_version="1.0", reason=None, error=None, executions=3,
        memory_bytes=100, operation_id=uuid.uuid4(), started_at=now, connected_at=now, last_used_at=now, ended_at=None,
    )  # fmt: skip
    dead = replace(busy, state="dead", reason="hung", executions=4, operation_id=None, ended_at=now)
    for record in (busy, dead, busy):
        async with gateway.db.transaction() as tx:
            await gateway.parts.sessions.save(tx, gateway.parts.instance, [record])
    async with gateway.db.read() as tx:
        stored = await gateway.parts.sessions.get(tx, busy.session_id)
    assert stored is not None
    assert stored.record == dead
