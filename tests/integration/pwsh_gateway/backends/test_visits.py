"""Visits, errors, lost answers and several tenants at once, on both back ends."""

import base64
import uuid

import pytest

from support.gateway import Gateway, assign, command, grant
from support.gateway_backends import do, give, of, one, spec, teams_user
from support.simulated import Simulator, Tenant, install, make_certificate, pfx_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_several_operations_of_one_user_are_one_visit(gateway: Gateway, tenant: Tenant, user: str) -> None:
    payloads = [
        assign("+41445551010", target=user),
        grant("TenantDialPlan", "Zurich", target=user),
        grant("TeamsCallingPolicy", "Sales", target=user),
    ]
    replies = await do(gateway, tenant, *payloads)
    assert all(reply["outcome"] == "succeeded" for reply in replies)
    ids = [uuid.UUID(payload["operation_id"]) for payload in payloads]
    rows = await gateway.rows(
        "SELECT cmdlet, session_id FROM execution WHERE operation_id = ANY (:ids) ORDER BY execution_id", ids=ids
    )
    assert [row.cmdlet for row in rows] == [
        "Get-CsOnlineUser",
        "Set-CsPhoneNumberAssignment",
        "Grant-CsTenantDialPlan",
        "Grant-CsTeamsCallingPolicy",
    ]
    assert len({row.session_id for row in rows}) == 1


async def test_a_throttled_cmdlet_is_tried_again_when_the_service_said(
    gateway: Gateway, tenant: Tenant, user: str
) -> None:
    busy = {
        "message": "Too many requests", "exception_type": "System.Exception", "fqid": "TooManyRequests",
        "category": "LimitsExceeded", "reason": "Exception", "details": "", "http": 429,
    }  # fmt: skip
    tenant.fault(action="powershell-error", face="powershell", path="/MicrosoftTeams/Grant-*", times=1, error=busy)
    (reply,) = await do(gateway, tenant, grant("TenantDialPlan", "Zurich", target=user))
    assert (reply["outcome"], reply["attempts"]) == ("succeeded", 2)


async def test_a_write_whose_answer_was_lost_is_read_back(gateway: Gateway, tenant: Tenant, user: str) -> None:
    tenant.fault(action="drop-after", face="powershell", path="/MicrosoftTeams/Set-CsPhoneNumberAssignment", times=1)
    payload = assign("+41445551020", target=user)
    (reply,) = await do(gateway, tenant, payload)
    assert (reply["outcome"], reply["changed"], reply["attempts"]) == ("succeeded", True, 2)
    assert reply["undo"]["operation"] == "teams.number.unassign"
    rows = await gateway.rows(
        "SELECT cmdlet, outcome FROM execution WHERE operation_id = :id ORDER BY execution_id",
        id=uuid.UUID(payload["operation_id"]),
    )
    assert [row.cmdlet for row in rows] == ["Get-CsOnlineUser", "Set-CsPhoneNumberAssignment", "Get-CsOnlineUser"]
    assert teams_user(tenant, user)["line_uri"] == "tel:+41445551020"


async def test_a_hanging_cmdlet_is_stopped_and_read_back(gateway: Gateway, tenant: Tenant, user: str) -> None:
    await gateway.configure(execution_seconds_max=2)
    tenant.fault(action="delay", face="powershell", path="/MicrosoftTeams/Grant-*", times=1, delay_seconds=20)
    try:
        (reply,) = await do(gateway, tenant, grant("TenantDialPlan", "Zurich", target=user), seconds=45)
    finally:
        await gateway.configure(execution_seconds_max=600)
    assert reply["outcome"] == "succeeded"
    assert reply["attempts"] >= 2
    (row,) = await gateway.rows("SELECT count(*) AS count FROM session WHERE reason IN ('timeout', 'hung')")
    assert row.count == 1


async def test_a_certificate_nobody_knows_fails_a_canary_and_leaves_the_active_one_alone(
    gateway: Gateway, tenant: Tenant, user: str
) -> None:
    key, certificate = make_certificate("stranger")
    stranger = await gateway.give_credential(
        tenant.tenant_id, active=False, pfx=base64.b64encode(pfx_of(key, certificate, "x")).decode(), password="x",
        client_id=tenant.client_id, organization=f"nw{tenant.tenant_id[:8]}.onmicrosoft.com",
    )  # fmt: skip
    probe = command("teams.tenant.probe", params={}, target=tenant.tenant_id, credential=str(stranger))
    probed, read = await do(gateway, tenant, probe, command("teams.user.get", target=user))
    assert (probed["outcome"], probed["error"]["code"]) == ("failed", "credential")
    assert "AADSTS700027" in probed["error"]["message"]
    assert read["outcome"] == "succeeded"


async def test_a_second_tenant_gets_sessions_of_its_own(gateway: Gateway, simulator: Simulator, tenant: Tenant) -> None:
    other = install(simulator, spec())
    await give(gateway, other, customer="fabrikam")
    mine, theirs = f"u30@{tenant.domain}", f"u30@{other.domain}"
    await gateway.do_all(
        of(tenant, grant("TenantDialPlan", "Zurich", target=mine)),
        of(other, grant("TeamsCallingPolicy", "Sales", target=theirs)),
        seconds=30,
    )
    assert teams_user(other, theirs)["policies"] == {"TeamsCallingPolicy": "Sales"}
    wrong = await one(gateway, other, "teams.user.get", identity=mine)
    assert wrong["error"]["code"] == "not-found"
    rows = await gateway.rows(
        "SELECT s.tenant_id AS session_tenant, e.tenant_id AS tenant "
        "FROM execution AS e JOIN session AS s USING (session_id)"
    )
    assert rows
    assert all(row.session_tenant == row.tenant for row in rows)


async def test_many_users_at_once(gateway: Gateway, tenant: Tenant) -> None:
    work = [assign(f"+414455510{n}", target=f"u{n - 20}@{tenant.domain}") for n in range(50, 60)]
    replies = await do(gateway, tenant, *work, seconds=45)
    assert all(reply["outcome"] == "succeeded" for reply in replies)
    assert len({payload["target"] for payload in work}) == 10
