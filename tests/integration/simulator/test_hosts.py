"""Both PowerShell hosts answer alike: the same requests through the simulated host and through the gateway's script on
a real PowerShell with the stub modules, frame by frame."""

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.session_hosts import SessionHost, real_command, simulated_command
from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, pfx_of, started, tenant_spec

E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
WAYS = ["simulated", pytest.param("pwsh", marks=pytest.mark.pwsh)]
KEY, CERTIFICATE = make_certificate("ucmesh")
ALLOWED = {
    "MicrosoftTeams": {
        "Get-CsOnlineUser": ["Identity", "ResultSize", "Filter", "SkipUserPolicies"],
        "Set-CsPhoneNumberAssignment": [
            "Identity", "TelephoneNumber", "PhoneNumber", "NumberType", "LocationId", "EnterpriseVoiceEnabled",
        ],
        "Grant-CsTenantDialPlan": ["Identity", "PolicyName", "Global", "Group", "Rank"],
        "Get-CsTenant": ["ResultSize"],
        "Get-CsNothing": [],
    },
    "ExchangeOnlineManagement": {
        "Get-EXOMailbox": ["Identity", "ExternalDirectoryObjectId", "Properties", "Anr"],
        "Set-Mailbox": ["Identity", "Type", "CustomAttribute1", "HiddenFromAddressListsEnabled", "Unknown", "WhatIf"],
        "Get-ConnectionInformation": [],
        "Get-OrganizationConfig": [],
    },
}  # fmt: skip
# Everything about the binder that a caller can get wrong.
MISTAKES: list[tuple[str, str, dict[str, Any]]] = [
    ("MicrosoftTeams", "Get-CsNothing", {}),
    ("MicrosoftTeams", "Get-CsTenant", {"ResultSize": 5}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": "a@b.c"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": "a@b.c", "TelephoneNumber": "+1"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"TelephoneNumber": "+1"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": "", "PhoneNumber": "+1", "NumberType": "x"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": None, "PhoneNumber": "+1", "NumberType": "x"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": ["a", "b"], "PhoneNumber": "+1", "NumberType": "x"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment",
     {"Identity": "a", "TelephoneNumber": "+1", "NumberType": "x", "EnterpriseVoiceEnabled": True}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": "a", "EnterpriseVoiceEnabled": "yes"}),
    ("MicrosoftTeams", "Set-CsPhoneNumberAssignment", {"Identity": "a", "EnterpriseVoiceEnabled": None}),
    ("MicrosoftTeams", "Grant-CsTenantDialPlan", {"Identity": "a", "PolicyName": "x", "Global": True}),
    ("MicrosoftTeams", "Grant-CsTenantDialPlan", {"Group": "g", "PolicyName": "x", "Rank": "high"}),
    ("MicrosoftTeams", "Get-CsOnlineUser", {"Identity": "nobody"}),
    ("ExchangeOnlineManagement", "Set-Mailbox", {"Identity": "x", "Unknown": 1}),
    ("ExchangeOnlineManagement", "Set-Mailbox", {"CustomAttribute1": "x"}),
    ("ExchangeOnlineManagement", "Set-Mailbox", {"Identity": None}),
    ("ExchangeOnlineManagement", "Set-Mailbox", {"Identity": "x", "HiddenFromAddressListsEnabled": "perhaps"}),
    ("ExchangeOnlineManagement", "Get-EXOMailbox", {"ExternalDirectoryObjectId": "no-guid"}),
    ("ExchangeOnlineManagement", "Get-EXOMailbox", {"Identity": "a", "Anr": "b"}),
    ("ExchangeOnlineManagement", "Get-EXOMailbox", {"Identity": "nobody"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def tenant(simulator: Simulator) -> Iterator[Tenant]:
    made = install(simulator, spec_with_certificate())
    yield made
    for client in made.clients:
        client.close()


def spec_with_certificate(**changes: object) -> dict[str, Any]:
    spec = tenant_spec(**changes)
    spec["applications"][0]["certificates"] = [{"certificate": pem_of(CERTIFICATE)}]
    return spec


def start(way: str, simulator: Simulator) -> SessionHost:
    return SessionHost(real_command() if way == "pwsh" else simulated_command(), simulator.base_url, simulator.ca_file)


def connect(host: SessionHost, tenant: Tenant, module: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "module": module,
        "allow": ALLOWED[module],
        "tenant_id": tenant.tenant_id,
        "organization": tenant.domain,
        "client_id": tenant.client_id,
        "pfx": base64.b64encode(pfx_of(KEY, CERTIFICATE, "pw")).decode(),
        "password": "pw",
        "cloud": "commercial",
        **changes,
    }
    return host.send("connect", **fields)


def comparable(frame: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in frame.items() if name not in {"id", "duration_ms"}}


@pytest.mark.pwsh
@pytest.mark.parametrize("module", list(ALLOWED))
def test_every_mistake_is_answered_alike(simulator: Simulator, tenant: Tenant, module: str) -> None:
    mistakes = [(cmdlet, params) for its_module, cmdlet, params in MISTAKES if its_module == module]
    with start("pwsh", simulator) as real, start("simulated", simulator) as simulated:
        assert comparable(connect(real, tenant, module)) == comparable(connect(simulated, tenant, module))
        for cmdlet, params in mistakes:
            expected = comparable(real.invoke(cmdlet, tenant.tenant_id, **params))
            answered = comparable(simulated.invoke(cmdlet, tenant.tenant_id, **params))
            assert expected["ok"] is False, (cmdlet, params, expected)
            assert answered == expected, (cmdlet, params)


@pytest.mark.pwsh
def test_objects_arrive_alike(simulator: Simulator, tenant: Tenant) -> None:
    graph = tenant.graph()
    user_id = graph.post("/users", json=tenant.user_body(f"u{uuid.uuid4().hex[:6]}")).json()["id"]
    body = {"addLicenses": [{"skuId": E5, "disabledPlans": []}], "removeLicenses": []}
    assert graph.post(f"/users/{user_id}/assignLicense", json=body).status_code == 200
    calls = {
        "MicrosoftTeams": [
            ("Get-CsOnlineUser", {"Identity": user_id}, None),
            ("Get-CsTenant", {}, ["TENANTID", "Nope"]),
        ],
        "ExchangeOnlineManagement": [
            ("Get-EXOMailbox", {"Identity": user_id}, None),
            ("Set-Mailbox", {"Identity": user_id}, None),
            ("Set-Mailbox", {"Identity": user_id, "CustomAttribute1": "x", "WhatIf": True}, None),
            ("Get-OrganizationConfig", {}, None),
            ("Get-ConnectionInformation", {}, ["State", "TenantID", "AppId", "CertificateAuthentication", "PageSize"]),
        ],
    }
    changing = {"WhenChanged", "LastSyncTimeStamp"}
    for module, asked in calls.items():
        with start("pwsh", simulator) as real, start("simulated", simulator) as simulated:
            connect(real, tenant, module)
            connect(simulated, tenant, module)
            for cmdlet, params, select in asked:
                frames = [
                    comparable(host.invoke(cmdlet, tenant.tenant_id, select, **params)) for host in (real, simulated)
                ]
                for frame in frames:
                    for row in frame["output"]:
                        for name in changing:
                            row.pop(name, None)
                assert frames[0] == frames[1], cmdlet


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("module", list(ALLOWED))
def test_a_session_is_bound_to_its_tenant(simulator: Simulator, tenant: Tenant, way: str, module: str) -> None:
    read = "Get-CsTenant" if module == "MicrosoftTeams" else "Get-OrganizationConfig"
    with start(way, simulator) as host:
        connected = connect(host, tenant, module)
        assert connected["output"] == {"tenant_id": tenant.tenant_id}
        other = host.invoke(read, str(uuid.uuid4()))
        mine = host.invoke(read, tenant.tenant_id.upper())
        unlisted = host.invoke("Remove-Mailbox", tenant.tenant_id)
        parameter = host.invoke(read, tenant.tenant_id, None, Confirm=False)
        again = connect(host, tenant, module)

    assert other["error"]["fqid"] == "UcmeshTenantMismatch"
    assert mine["ok"], mine
    assert [one["error"]["fqid"] for one in (unlisted, parameter, again)] == ["UcmeshNotAllowed"] * 3


@pytest.mark.parametrize("way", WAYS)
def test_an_exchange_session_of_the_wrong_organization_says_whose_it_is(simulator: Simulator, way: str) -> None:
    """The same application registered in two tenants, asked for the first and connected to the second."""
    first_spec = spec_with_certificate()
    second_spec = spec_with_certificate()
    second_spec["applications"] = first_spec["applications"]
    first, second = install(simulator, first_spec), install(simulator, second_spec)

    with start(way, simulator) as host:
        connected = connect(host, first, "ExchangeOnlineManagement", organization=second.domain)
        refused = host.invoke("Get-OrganizationConfig", first.tenant_id)

    assert connected["output"]["tenant_id"] == second.tenant_id
    assert refused["error"]["fqid"] == "UcmeshTenantMismatch"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("module", "fqid", "category"),
    [
        ("MicrosoftTeams", "Connect-MicrosoftTeams,Microsoft.TeamsCmdlets.Powershell.Connect.ConnectMicrosoftTeams",
         "AuthenticationError"),
        ("ExchangeOnlineManagement", "AADSTS700027", "OperationStopped"),
    ],
)  # fmt: skip
def test_a_key_nobody_registered_fails_the_sign_in(
    simulator: Simulator, tenant: Tenant, way: str, module: str, fqid: str, category: str
) -> None:
    key, certificate = make_certificate("stranger")
    pfx = base64.b64encode(pfx_of(key, certificate, "pw")).decode()

    with start(way, simulator) as host:
        error = connect(host, tenant, module, pfx=pfx)["error"]

    assert error["message"].startswith("AADSTS700027: ")
    assert error["fqid"].startswith(fqid)
    assert (error["category"], error["type"]) == (category, "Microsoft.Identity.Client.MsalServiceException")
    assert error["http"] == 401


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_directory_role_fails_the_connection(simulator: Simulator, way: str) -> None:
    spec = spec_with_certificate()
    spec["applications"][0]["directory_roles"] = []
    tenant = install(simulator, spec)

    with start(way, simulator) as teams, start(way, simulator) as exchange:
        denied = connect(teams, tenant, "MicrosoftTeams")["error"]
        refused = connect(exchange, tenant, "ExchangeOnlineManagement")["error"]

    assert denied["message"] == "Access Denied."
    assert "isn't supported in this scenario" in refused["message"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("module", list(ALLOWED))
def test_an_expired_token_is_renewed_within_the_session(tmp_path: Path, way: str, module: str) -> None:
    """The host believes its token is good; the service refuses it, and one renewal is enough."""
    read = "Get-CsTenant" if module == "MicrosoftTeams" else "Get-OrganizationConfig"
    with started(tmp_path) as simulator:
        tenant = install(simulator, spec_with_certificate(knobs={"token_lifetime_seconds": 800}))
        with start(way, simulator) as host:
            assert connect(host, tenant, module)["ok"]
            assert logins(tenant) == 1
            with simulator.admin() as admin:
                admin.post("/_sim/clock", json={"advance_identity_seconds": 850})
            assert host.invoke(read, tenant.tenant_id)["ok"]
            assert logins(tenant) == 2


def logins(tenant: Tenant) -> int:
    return sum(one["face"] == "login" for one in tenant.state("requests")["entries"])


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_connection_is_an_error_record(simulator: Simulator, tenant: Tenant, way: str) -> None:
    with start(way, simulator) as host:
        connect(host, tenant, "MicrosoftTeams")
        tenant.fault(action="drop", face="powershell", path="/MicrosoftTeams/Get-CsOnlineUser")
        lost = host.invoke("Get-CsOnlineUser", tenant.tenant_id, None, Identity="x")

    assert lost["error"]["type"] == "System.Net.Http.HttpRequestException"
    assert lost["error"]["category"] == "ConnectionError"
