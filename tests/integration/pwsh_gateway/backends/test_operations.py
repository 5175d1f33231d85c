"""Every operation of the catalogue through the worker, on both back ends. What happened is asked of the tenant, not of
us.
"""

import pytest

from support.gateway import Gateway, assign, grant
from support.gateway_backends import NASTY, NASTY_LINE, do, numbers, one, teams_user
from support.simulated import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
