"""One suite, both back ends: every operation of the catalogue through the worker, on the simulated host and on a real
PowerShell with the stub modules. What happened is asked of the tenant, not of us."""

import base64
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from pwsh_gateway.adapters import shipped
from pwsh_gateway.adapters.hosts import backends
from pwsh_gateway.adapters.hosts.process import HostCommand
from support.gateway import Gateway, assign, command, grant, make_gateway
from support.session_hosts import MODULES, simulated_command
from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, pfx_of, started, tenant_spec

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY, CERTIFICATE = make_certificate("ucmesh")
NASTY = '\'; Remove-Mailbox * #\n$(Get-Process) `whoami` "quoted" \x1e{"id":"x","ok":true}\n 2020-01-01T00:00:00Z ünï ☎'
NASTY_LINE = NASTY.replace("\n", " ").replace("\x1e", " ").replace("*", "x")


def host_command(way: str, simulator: Simulator) -> HostCommand:
    variables = {"UCMESH_SIMULATOR_URL": simulator.base_url, "UCMESH_SIMULATOR_CA": str(simulator.ca_file)}
    if way == "simulated":
        return HostCommand(tuple(simulated_command()), variables)
    return backends.pwsh("pwsh", shipped.session_host(), module_path=str(MODULES), variables=variables)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with started(tmp_path_factory.mktemp("simulator")) as up:
        yield up


def spec(**changes: object) -> dict[str, Any]:
    made = tenant_spec(**changes)
    domain = made["domains"][0]
    made["applications"][0] |= {
        "certificates": [{"certificate": pem_of(CERTIFICATE)}],
        "exchange_roles": ["Exchange.ManageAsApp"],
        "directory_roles": ["Teams Administrator", "Exchange Administrator"],
    }
    made["skus"] = [{"part_number": "SPE_E5", "seats": 100}]
    made["policies"] = {"TenantDialPlan": ["Zurich"], "TeamsCallingPolicy": ["Sales", NASTY_LINE.strip()[:60]]}
    made["numbers"] = [
        {"first": "+41445551000", "last": "+41445551099", "type": "DirectRouting"},
        {"number": "+41445551900", "type": "DirectRouting", "assigned_to": "outside"},
    ]
    made["users"] = [
        {
            "properties": {"userPrincipalName": f"u{n}@{domain}", "displayName": f"User {n}", "usageLocation": "CH"},
            "licences": ["SPE_E5"] if n < 40 else [],
            "settled": True,
        }
        for n in range(42)
    ]
    return made


@pytest.fixture(scope="module", params=["simulated", pytest.param("pwsh", marks=pytest.mark.pwsh)])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tenant(simulator: Simulator, way: str) -> Tenant:
    return install(simulator, spec())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    postgres_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    simulator: Simulator,
    tenant: Tenant,
    way: str,
) -> AsyncIterator[Gateway]:
    """A running worker for the whole module, so that its warm sessions are used as they would be."""
    command_line = host_command(way, simulator)
    made = await make_gateway(postgres_url, command_line, tmp_path_factory.mktemp("gateway"), lease_seconds=15)
    await made.configure(retry_first_seconds=0.1)
    await give(made, tenant)
    async with made.running():
        yield made
    await made.db.close()


async def give(gateway: Gateway, tenant: Tenant, **changes: Any) -> uuid.UUID:
    return await gateway.give_credential(
        tenant.tenant_id,
        pfx=base64.b64encode(pfx_of(KEY, CERTIFICATE, "pw")).decode(),
        password="pw",
        client_id=tenant.client_id,
        organization=f"nw{tenant.tenant_id[:8]}.onmicrosoft.com",
        **changes,
    )


@pytest.fixture
def user(tenant: Tenant, request: pytest.FixtureRequest) -> str:
    """A licensed user that no other test touches."""
    counter = request.config.stash.setdefault(COUNTER, {})
    counter[tenant.tenant_id] = counter.get(tenant.tenant_id, -1) + 1
    return f"u{counter[tenant.tenant_id]}@{tenant.domain}"


COUNTER = pytest.StashKey[dict[str, int]]()


def of(tenant: Tenant, payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"tenant_id": tenant.tenant_id}


def teams_user(tenant: Tenant, upn: str) -> dict[str, Any]:
    """The user as the tenant knows it, without delays."""
    return next(found for found in tenant.state("teams_users") if found["userPrincipalName"] == upn)


async def do(gateway: Gateway, tenant: Tenant, *payloads: dict[str, Any], seconds: float = 30) -> list[dict[str, Any]]:
    return await gateway.do_all(*(of(tenant, payload) for payload in payloads), seconds=seconds)


async def one(gateway: Gateway, tenant: Tenant, operation: str, **params: Any) -> dict[str, Any]:
    target = params.get("identity", tenant.tenant_id)
    (reply,) = await do(gateway, tenant, command(operation, params=params, target=target))
    return reply


async def test_probes_log_in_and_name_the_tenant(gateway: Gateway, tenant: Tenant) -> None:
    teams = await one(gateway, tenant, "teams.tenant.probe")
    exchange = await one(gateway, tenant, "exchange.organization.probe")
    assert teams["output"]["tenant_id"] == tenant.tenant_id
    assert exchange["output"] == {
        "organization": f"nw{tenant.tenant_id[:8]}.onmicrosoft.com",
        "tenant_id": tenant.tenant_id,
    }


async def test_a_number_goes_and_comes_back(gateway: Gateway, tenant: Tenant, user: str) -> None:
    (assigned,) = await do(gateway, tenant, assign("+41445551000", target=user))
    assert (assigned["outcome"], assigned["changed"]) == ("succeeded", True)
    assert teams_user(tenant, user)["line_uri"] == "tel:+41445551000"
    (again,) = await do(gateway, tenant, assign("+41445551000", target=user))
    assert (again["outcome"], again["changed"], again["undo"]) == ("succeeded", False, None)
    read = await one(gateway, tenant, "teams.user.get", identity=user)
    assert read["output"]["user"]["LineURI"] == "tel:+41445551000"
    assert read["output"]["user"]["EnterpriseVoiceEnabled"] is True
    assert "PhoneSystem" in read["output"]["user"]["FeatureTypes"]
    undo = assigned["undo"]
    undone = await one(gateway, tenant, undo["operation"], **undo["params"])
    assert (undone["outcome"], undone["changed"]) == ("succeeded", True)
    assert not teams_user(tenant, user)["line_uri"]


async def test_numbers_that_cannot_be_had(gateway: Gateway, tenant: Tenant, user: str) -> None:
    taken, unlicensed, other_type = await do(
        gateway,
        tenant,
        assign("+41445551900", target=user),
        assign("+41445552000", target=user) | {"params": numbers(user, "+41445552000", "CallingPlan")},
        assign("+41445551001", target=user) | {"params": numbers(user, "+41445551001", "OperatorConnect")},
    )
    assert (taken["outcome"], taken["error"]["code"]) == ("refused", "number-taken")
    assert (unlicensed["outcome"], unlicensed["error"]["code"]) == ("refused", "licence-missing")
    assert (other_type["outcome"], other_type["error"]["code"]) == ("refused", "number-unknown")
    assert not any(reply["changed"] for reply in (taken, unlicensed, other_type))


def numbers(user: str, number: str, number_type: str) -> dict[str, Any]:
    return {"identity": user, "telephone_number": number, "number_type": number_type}


async def test_a_user_without_a_licence_gets_no_number(gateway: Gateway, tenant: Tenant) -> None:
    reply = await one(
        gateway, tenant, "teams.number.assign", **numbers(f"u41@{tenant.domain}", "+41445551002", "DirectRouting")
    )
    assert reply["outcome"] in {"refused", "failed"}
    assert reply["error"]["code"] in {"licence-missing", "not-found"}


async def test_policies_are_granted_and_taken_back(gateway: Gateway, tenant: Tenant, user: str) -> None:
    dial, calling = await do(
        gateway,
        tenant,
        grant("TenantDialPlan", "Zurich", target=user),
        grant("TeamsCallingPolicy", "Sales", target=user),
    )
    assert [reply["output"] for reply in (dial, calling)] == [{"former": None}] * 2
    read = await one(gateway, tenant, "teams.user.get", identity=user)
    assert read["output"]["user"]["TenantDialPlan"] == "Zurich"
    assert read["output"]["user"]["TeamsCallingPolicy"] == "Sales"
    assert read["output"]["user"]["TeamsMeetingPolicy"] is None
    undone = await one(gateway, tenant, "teams.policy.grant", **calling["undo"]["params"])
    assert undone["undo"]["params"]["policy_name"] == "Sales"
    read = await one(gateway, tenant, "teams.user.get", identity=user)
    assert read["output"]["user"]["TeamsCallingPolicy"] is None


async def test_a_policy_that_is_not_there(gateway: Gateway, tenant: Tenant, user: str) -> None:
    (reply,) = await do(gateway, tenant, grant("TeamsCallingPolicy", "Nobody made it", target=user))
    assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "policy-unknown", True)


async def test_a_grant_that_the_read_does_not_show_yet_can_be_undone(
    gateway: Gateway, tenant: Tenant, user: str
) -> None:
    tenant.turn(grant_effect_seconds=600)
    try:
        (granted,) = await do(gateway, tenant, grant("TenantDialPlan", "Zurich", target=user))
        read = await one(gateway, tenant, "teams.user.get", identity=user)
        assert read["output"]["user"]["TenantDialPlan"] is None
        undone = await one(gateway, tenant, "teams.policy.grant", **granted["undo"]["params"])
        assert undone["changed"] is True
    finally:
        tenant.turn(grant_effect_seconds=0)
    tenant.advance(1200)
    read = await one(gateway, tenant, "teams.user.get", identity=user)
    assert read["output"]["user"]["TenantDialPlan"] is None


async def test_a_mailbox_is_configured_and_put_back(gateway: Gateway, tenant: Tenant, user: str) -> None:
    settings = {
        "MessageCopyForSentAsEnabled": True,
        "CustomAttribute1": "Zürich",
        "HiddenFromAddressListsEnabled": True,
    }
    changed = await one(gateway, tenant, "exchange.mailbox.configure", identity=user, settings=settings)
    assert (changed["outcome"], changed["changed"]) == ("succeeded", True)
    read = await one(gateway, tenant, "exchange.mailbox.get", identity=user)
    assert {name: read["output"]["mailbox"][name] for name in settings} == settings
    again = await one(gateway, tenant, "exchange.mailbox.configure", identity=user, settings=settings)
    assert again["changed"] is False
    undone = await one(gateway, tenant, "exchange.mailbox.configure", **changed["undo"]["params"])
    assert undone["changed"] is True
    read = await one(gateway, tenant, "exchange.mailbox.get", identity=user)
    assert not read["output"]["mailbox"]["CustomAttribute1"]
    assert read["output"]["mailbox"]["HiddenFromAddressListsEnabled"] is False


async def test_client_access_is_configured(gateway: Gateway, tenant: Tenant, user: str) -> None:
    settings = {"ImapEnabled": False, "PopEnabled": False, "ActiveSyncEnabled": True}
    changed = await one(gateway, tenant, "exchange.cas-mailbox.configure", identity=user, settings=settings)
    assert changed["undo"]["params"]["settings"] == {"ImapEnabled": True, "PopEnabled": True}
    read = await one(gateway, tenant, "exchange.mailbox.get", identity=user)
    assert read["output"]["cas"]["ImapEnabled"] is False
    assert read["output"]["cas"]["ActiveSyncEnabled"] is True


@pytest.mark.parametrize("operation", ["teams.user.get", "exchange.mailbox.get"])
async def test_somebody_who_is_not_there_yet(gateway: Gateway, tenant: Tenant, operation: str) -> None:
    reply = await one(gateway, tenant, operation, identity=f"nobody@{tenant.domain}")
    assert (reply["outcome"], reply["error"]["code"], reply["error"]["retryable"]) == ("failed", "not-found", True)


async def test_a_value_that_looks_like_a_script_is_stored_as_it_is(gateway: Gateway, tenant: Tenant, user: str) -> None:
    settings = {
        "CustomAttribute2": NASTY,
        "SimpleDisplayName": "$(1+1); 'x' \"y\" `z`",
        "MailTip": "2020-01-01T00:00:00Z",
    }
    changed = await one(gateway, tenant, "exchange.mailbox.configure", identity=user, settings=settings)
    assert changed["outcome"] == "succeeded", changed["error"]
    read = await one(gateway, tenant, "exchange.mailbox.get", identity=user)
    assert {name: read["output"]["mailbox"][name] for name in settings} == settings


async def test_a_policy_name_that_looks_like_a_script_is_a_name(gateway: Gateway, tenant: Tenant, user: str) -> None:
    name = NASTY_LINE.strip()[:60]
    (reply,) = await do(gateway, tenant, grant("TeamsCallingPolicy", name, target=user))
    assert reply["outcome"] == "succeeded", reply["error"]
    read = await one(gateway, tenant, "teams.user.get", identity=user)
    assert read["output"]["user"]["TeamsCallingPolicy"] == name


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
