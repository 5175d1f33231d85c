"""The worker on a real PostgreSQL with a scripted session host: the queue, visits and replies."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from pwsh_gateway import wire
from support.gateway import ADAM, NUMBER, OTHER_TENANT, REPLIES, TENANT, Gateway, Script, assign, command, grant
from support.waiting import eventually


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


async def test_leased_operations_are_locked_in_one_order(gateway: Gateway) -> None:
    """Those who renew leases and those who write visits down would wait for each other for ever otherwise."""
    queue, owner, now = gateway.parts.queue, uuid.uuid4(), gateway.parts.clock.now()
    first, last = (str(uuid.UUID(int=n)) for n in (1, 2))
    await gateway.accept(assign(operation_id=last, target=ADAM), assign(operation_id=first))
    until = now + timedelta(minutes=1)
    async with gateway.db.transaction() as tx:
        await tx.execute(text("UPDATE operation SET state = 'leased', lease_owner = :owner"), {"owner": owner})
    renewing: list[asyncio.Task[None]] = []

    async def renew() -> None:
        async with gateway.db.transaction() as tx:
            held = await queue.renew(tx, owner=owner, ids=[uuid.UUID(last), uuid.UUID(first)], until=until)
            assert len(held) == 2

    async with gateway.db.transaction() as tx:
        await tx.execute(text("SELECT 1 FROM operation WHERE operation_id = :id FOR UPDATE"), {"id": first})
        renewing.append(asyncio.create_task(renew()))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

        async def waiting() -> int:
            async with gateway.db.read() as reader:  # a transaction of its own: one sees the activity of its first look
                return int(await reader.scalar(text(waits)))

        await eventually(waiting, what="the one who waits")
        await tx.execute(text("SELECT 1 FROM operation WHERE operation_id = :id FOR UPDATE NOWAIT"), {"id": last})
    await renewing[0]


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
        await gateway.accept(payload | {"reply_to": "ucmesh.orchestrator-bulk.replies.v1"})
        await gateway.collect()
    assert again == first[0]
    topics = [message.topic for message in gateway.events if message.event.type == wire.COMPLETED]
    assert topics == [REPLIES, REPLIES, "ucmesh.orchestrator-bulk.replies.v1"], "who asks says where it listens"
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
