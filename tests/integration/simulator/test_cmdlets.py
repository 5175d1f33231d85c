"""The Teams and Exchange cmdlets, one suite over three ways in: plain HTTP, the simulated host, and the stub modules in
a real PowerShell under the gateway's own script."""

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from support.session_hosts import SessionHost, real_command, simulated_command
from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, pfx_of, tenant_spec
from ucmesh_simulator.powershell.parameters import SHOULD_PROCESS, load_module

E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
E3 = "05e9a617-0261-4cee-bb44-138d3ef5d965"
MCOPSTN1 = "0dab259f-bf13-4952-b7f8-7db8f131b28d"
SCOPES = {
    "MicrosoftTeams": "48ac35b8-9aa8-4d74-927d-1f4a14a0b239/.default",
    "ExchangeOnlineManagement": "https://outlook.office365.com/.default",
}
GENERATED = "Microsoft.Teams.ConfigAPI.Cmdlets.Generated.Cmdlets"


class CmdletFailedError(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error

    def __getattr__(self, name: str) -> Any:
        return self.error[name]


@dataclass
class Entry:
    """One way to run cmdlets against one tenant; `users` counts the names given out."""

    way: str
    tenant: Tenant
    organization: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    stack: ExitStack
    hosts: dict[str, SessionHost] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def run(self, cmdlet: str, **parameters: Any) -> list[dict[str, Any]]:
        module = "MicrosoftTeams" if "-Cs" in cmdlet else "ExchangeOnlineManagement"
        if self.way == "http":
            return self._over_http(module, cmdlet, parameters)
        frame = self._host(module).invoke(cmdlet, self.tenant.tenant_id, None, **parameters)
        if not frame["ok"]:
            raise CmdletFailedError(frame["error"])
        self.warnings = frame["warnings"]
        rows: list[dict[str, Any]] = frame["output"]
        return rows

    def fails(self, cmdlet: str, **parameters: Any) -> dict[str, Any]:
        with pytest.raises(CmdletFailedError) as caught:
            self.run(cmdlet, **parameters)
        return caught.value.error

    def _over_http(self, module: str, cmdlet: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        simulator = self.tenant.simulator
        answer = httpx.post(
            f"{simulator.base_url}/powershell/{module}/{cmdlet}",
            headers={"authorization": f"Bearer {self.tenant.token(SCOPES[module])}"},
            json={"parameters": parameters},
            verify=simulator.context(),
        )
        body = answer.json()
        if answer.status_code != 200:
            error = body["error"]
            raise CmdletFailedError({**error, "type": error["exception_type"]})
        self.warnings = body["warnings"]
        rows: list[dict[str, Any]] = body["output"]
        return rows

    def _host(self, module: str) -> SessionHost:
        if module not in self.hosts:
            command = real_command() if self.way == "pwsh" else simulated_command()
            simulator = self.tenant.simulator
            host = self.stack.enter_context(SessionHost(command, simulator.base_url, simulator.ca_file))
            connected = self.connect(host, module)
            assert connected["ok"], connected
            self.hosts[module] = host
        return self.hosts[module]

    def connect(self, host: SessionHost, module: str, **changes: Any) -> dict[str, Any]:
        fields = {
            "module": module,
            "allow": {one.name: [*one.parameters, *SHOULD_PROCESS] for one in load_module(module)},
            "tenant_id": self.tenant.tenant_id,
            "organization": self.organization,
            "client_id": self.tenant.client_id,
            "pfx": base64.b64encode(pfx_of(self.key, self.certificate, "pw")).decode(),
            "password": "pw",
            "cloud": "commercial",
            **changes,
        }
        return host.send("connect", **fields)

    def user(self, *skus: str, **properties: object) -> tuple[str, str]:
        """A fresh user with licences: (object id, UPN)."""
        name = f"u{uuid.uuid4().hex[:8]}"
        graph = self.tenant.graph()
        made = graph.post("/users", json=self.tenant.user_body(name, **properties)).json()
        if skus:
            add = [{"skuId": sku, "disabledPlans": []} for sku in skus]
            answer = graph.post(f"/users/{made['id']}/assignLicense", json={"addLicenses": add, "removeLicenses": []})
            assert answer.status_code == 200, answer.text
        return made["id"], made["userPrincipalName"]

    def licences(self, user_id: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        body = {"addLicenses": [{"skuId": sku, "disabledPlans": []} for sku in add], "removeLicenses": list(remove)}
        assert self.tenant.graph().post(f"/users/{user_id}/assignLicense", json=body).status_code == 200

    def number(self, number: str) -> dict[str, Any] | None:
        return next((one for one in self.tenant.state("numbers") if one["number"] == number), None)


@pytest.fixture(scope="module", params=["http", "simulated", pytest.param("pwsh", marks=pytest.mark.pwsh)])
def entry(request: pytest.FixtureRequest, simulator: Simulator) -> Iterator[Entry]:
    key, certificate = make_certificate("ucmesh")
    spec = tenant_spec()
    spec["skus"] = [{"part_number": name, "seats": 500} for name in ("SPE_E5", "SPE_E3", "MCOEV", "MCOPSTN1")]
    spec["numbers"] += [{"first": "+41445553000", "last": "+41445553099", "type": "DirectRouting"}]
    spec["applications"][0]["certificates"] = [{"certificate": pem_of(certificate)}]
    with ExitStack() as stack:
        tenant = install(simulator, spec)
        yield Entry(request.param, tenant, spec["initial_domain"], key, certificate, stack)
        for client in tenant.clients:
            client.close()


FREE = iter(range(41445553000, 41445553100))


@pytest.fixture
def number() -> str:
    return f"+{next(FREE)}"


# -- Teams: users ------------------------------------------------------------------------------------------------------


def test_a_licensed_user_has_features_and_no_number(entry: Entry) -> None:
    user_id, upn = entry.user(E5, city="Bern")

    for identity in (user_id, upn, f"sip:{upn}", upn.upper()):
        user = entry.run("Get-CsOnlineUser", Identity=identity)[0]
        assert user["Identity"] == user_id
    assert user["FeatureTypes"] == ["Teams", "PhoneSystem", "AudioConferencing"]
    assert (user["LineUri"], user["EnterpriseVoiceEnabled"], user["City"]) == (None, False, "Bern")
    assert user["TeamsCallingPolicy"] is None


def test_teams_does_not_know_a_user_before_its_time(entry: Entry, number: str) -> None:
    entry.tenant.turn(teams_provisioning_seconds=300)
    try:
        user_id, upn = entry.user(E5)
        early = entry.fails("Get-CsOnlineUser", Identity=upn)
        refused = entry.fails(
            "Set-CsPhoneNumberAssignment", Identity=user_id, TelephoneNumber=number, NumberType="DirectRouting"
        )
        entry.tenant.advance(301)
        assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["Identity"] == user_id
    finally:
        entry.tenant.turn(teams_provisioning_seconds=0)
    assert early["message"] == f'Management object not found for identity "{upn}".'
    assert refused["message"] == "The server responded with a Request Error, Status: NotFound"
    assert refused["fqid"] == f"NotFound,{GENERATED}.SetCsPhoneNumberAssignment_Set"
    assert (refused["category"], refused["reason"]) == ("InvalidOperation", "UndeclaredResponseException")


def test_an_unlicensed_user_is_listed_but_not_found(entry: Entry) -> None:
    _, upn = entry.user()

    assert "Management object not found" in entry.fails("Get-CsOnlineUser", Identity=upn)["message"]
    listed = entry.run("Get-CsOnlineUser", Filter=f"UserPrincipalName -eq '{upn}'")
    assert [one["AccountType"] for one in listed] == ["IneligibleUser"]


# -- Teams: numbers ----------------------------------------------------------------------------------------------------


def test_a_number_is_assigned_in_silence_and_read_back(entry: Entry, number: str) -> None:
    user_id, upn = entry.user(E5)

    assert (
        entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number[1:], NumberType="DirectRouting")
        == []
    )

    user = entry.run("Get-CsOnlineUser", Identity=user_id)[0]
    assert (user["LineUri"], user["EnterpriseVoiceEnabled"]) == (f"tel:{number}", True)
    row = entry.run("Get-CsPhoneNumberAssignment", TelephoneNumber=number)[0]
    assert (row["AssignedPstnTargetId"], row["PstnAssignmentStatus"]) == (user_id, "UserAssigned")


@pytest.mark.parametrize(
    ("taken", "kind", "text"),
    [
        ("+41445551900", "DirectRouting", "Telephone Number '+41445551900' has already been assigned to another user"),
        ("+41445551001", "OperatorConnect", "Telephone Number '+41445551001' is not found from tenant '{tenant}'"),
        ("+41445552000", "CallingPlan", "User '{upn}' lacks appropriate licenses to assign a 'CallingPlan' number"),
    ],
)
def test_a_number_is_refused_with_the_services_words(entry: Entry, taken: str, kind: str, text: str) -> None:
    _, upn = entry.user(E5)

    error = entry.fails("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=taken, NumberType=kind)

    assert error["message"] == text.format(tenant=entry.tenant.tenant_id, upn=upn)
    assert error["fqid"] == f"BadRequest,{GENERATED}.SetCsPhoneNumberAssignment_Set"
    assert error["reason"] == "RestException"


def test_a_user_without_phone_system_gets_no_number(entry: Entry, number: str) -> None:
    _, upn = entry.user(E3)

    error = entry.fails("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")

    assert error["message"] == f"User '{upn}' lacks appropriate licenses to assign a 'DirectRouting' number"


def test_a_direct_routing_number_nobody_uploaded_exists_only_while_assigned(entry: Entry) -> None:
    _, upn = entry.user(E5)
    foreign = f"+4930{uuid.uuid4().int % 10**8:08}"
    where = {"Identity": upn, "TelephoneNumber": foreign, "NumberType": "DirectRouting"}

    entry.run("Set-CsPhoneNumberAssignment", **where)
    assert entry.number(foreign) is not None
    entry.run("Remove-CsPhoneNumberAssignment", **where)
    assert entry.number(foreign) is None
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["EnterpriseVoiceEnabled"] is False


def test_removing_with_the_wrong_type_finds_nothing_and_remove_all_always_works(entry: Entry, number: str) -> None:
    _, upn = entry.user(E5)
    entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")

    error = entry.fails(
        "Remove-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="CallingPlan"
    )
    assert "is not found from tenant" in error["message"]
    entry.run("Remove-CsPhoneNumberAssignment", Identity=upn, RemoveAll=True)
    held = entry.number(number)
    assert held is not None
    assert held["holder"] is None


def test_losing_phone_system_frees_the_number_and_a_swap_in_one_call_keeps_it(entry: Entry, number: str) -> None:
    user_id, upn = entry.user(E5)
    entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")

    entry.licences(user_id, add=(E3, "e43b5b99-8dfb-405f-9987-dc307f34bcbd"), remove=(E5,))
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["LineUri"] == f"tel:{number}"
    entry.licences(user_id, remove=("e43b5b99-8dfb-405f-9987-dc307f34bcbd",))

    user = entry.run("Get-CsOnlineUser", Identity=upn)[0]
    assert (user["LineUri"], user["EnterpriseVoiceEnabled"], user["FeatureTypes"]) == (None, False, ["Teams"])
    error = entry.fails("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber=number, NumberType="DirectRouting")
    assert error["message"].startswith(
        "The user already has a telephone number set in the on-premises"
    )  # misleading, as it is


def test_a_calling_plan_number_goes_with_the_calling_plan(entry: Entry) -> None:
    user_id, upn = entry.user(E5, MCOPSTN1)
    entry.run("Set-CsPhoneNumberAssignment", Identity=upn, TelephoneNumber="+41445552001", NumberType="CallingPlan")

    entry.licences(user_id, remove=(MCOPSTN1,))

    held = entry.number("+41445552001")
    assert held is not None
    assert held["holder"] is None
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["EnterpriseVoiceEnabled"] is False


def test_the_inventory_pages_and_filters(entry: Entry) -> None:
    page = entry.run("Get-CsPhoneNumberAssignment", TelephoneNumberStartsWith="+414455510", Top=2, Skip=1)
    outside = entry.run("Get-CsPhoneNumberAssignment", Filter="TelephoneNumber -like '*1900'")

    assert [one["TelephoneNumber"] for one in page] == ["+41445551001", "+41445551002"]
    assert outside[0]["PstnAssignmentStatus"] == "UserAssigned"


# -- Teams: policies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy_type", "name"),
    [
        ("TeamsCallingPolicy", "AllowCalling"),
        ("TeamsMeetingPolicy", "AllOn"),
        ("TenantDialPlan", "Zurich"),
        ("OnlineVoiceRoutingPolicy", "CH"),
        ("TeamsAppSetupPolicy", "FirstLineWorker"),
    ],
)
def test_a_grant_shows_in_the_user_and_null_takes_it_back(entry: Entry, policy_type: str, name: str) -> None:
    _, upn = entry.user(E5)

    assert entry.run(f"Grant-Cs{policy_type}", Identity=upn, PolicyName=name) == []
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0][policy_type]["Name"] == name
    assigned = entry.run("Get-CsUserPolicyAssignment", Identity=upn)
    assert [(one["PolicyType"], one["PolicyName"]) for one in assigned] == [(policy_type, name)]
    entry.run(f"Grant-Cs{policy_type}", Identity=upn, PolicyName=None)
    assert entry.run("Get-CsOnlineUser", Identity=upn)[0][policy_type] is None


def test_unknown_policies_and_users_are_named(entry: Entry) -> None:
    _, upn = entry.user(E5)

    policy = entry.fails("Grant-CsTeamsCallingPolicy", Identity=upn, PolicyName="Nope")
    person = entry.fails("Grant-CsTeamsCallingPolicy", Identity="nobody@x.y", PolicyName="AllowCalling")

    assert policy["message"] == (
        'Policy "Nope" is not a user policy. You can assign only a user policy to a specific user.'
    )
    assert policy["fqid"] == "ClientError,Microsoft.Teams.ConfigApi.Cmdlets.GrantCsTeamsCallingPolicy"
    assert person["message"] == 'Management object not found for identity "nobody@x.y".'


def test_a_new_policy_cannot_be_granted_at_once_and_a_grant_shows_later(entry: Entry) -> None:
    _, upn = entry.user(E5)
    name = f"Fresh{uuid.uuid4().hex[:6]}"
    entry.tenant.turn(policy_visibility_seconds=120, grant_effect_seconds=30)
    try:
        with entry.tenant.simulator.admin() as admin:
            made = admin.post(
                f"/_sim/tenants/{entry.tenant.tenant_id}/policies", json={"type": "TeamsCallingPolicy", "name": name}
            )
            assert made.status_code == 201
        assert (
            "is not a user policy"
            in entry.fails("Grant-CsTeamsCallingPolicy", Identity=upn, PolicyName=name)["message"]
        )
        entry.tenant.advance(121)
        entry.run("Grant-CsTeamsCallingPolicy", Identity=upn, PolicyName=name)
        assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["TeamsCallingPolicy"] is None
        entry.tenant.advance(31)
        assert entry.run("Get-CsOnlineUser", Identity=upn)[0]["TeamsCallingPolicy"]["Name"] == name
    finally:
        entry.tenant.turn(policy_visibility_seconds=0, grant_effect_seconds=0)


def test_policies_are_listed_with_their_tag(entry: Entry) -> None:
    names = [one["Identity"] for one in entry.run("Get-CsTeamsCallingPolicy")]

    assert len([one for one in names if "Fresh" not in one]) == 5
    assert names[0] == "Global"
    assert entry.run("Get-CsTeamsCallingPolicy", Identity="AllowCalling")[0]["Identity"] == "Tag:AllowCalling"


# -- Exchange ----------------------------------------------------------------------------------------------------------


def test_a_mailbox_comes_after_its_licence(entry: Entry) -> None:
    entry.tenant.turn(mailbox_provisioning_seconds=900)
    try:
        user_id, upn = entry.user(E5)
        early = entry.fails("Get-EXOMailbox", Identity=upn)
        classic = entry.fails("Set-Mailbox", Identity=upn, CustomAttribute1="x")
        entry.tenant.advance(901)
        mailbox = entry.run("Get-EXOMailbox", Identity=user_id)[0]
    finally:
        entry.tenant.turn(mailbox_provisioning_seconds=0)
    assert early["message"].startswith("Error while querying REST service. HttpStatusCode=404 ErrorMessage={")
    assert f"object '{upn}' couldn't be found on" in early["message"]
    assert classic["message"].startswith(
        "Ex6F9304|Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException|The operation couldn't be"
    )
    assert classic["reason"] == "ManagementObjectNotFoundException"
    assert classic["fqid"].startswith("[Server=")
    assert classic["fqid"].endswith(",Write-ErrorMessage")
    assert mailbox["ExternalDirectoryObjectId"] == user_id
    assert (mailbox["PrimarySmtpAddress"], mailbox["RecipientTypeDetails"]) == (upn, "UserMailbox")


def test_get_exo_mailbox_answers_the_minimum_set_and_what_was_asked(entry: Entry) -> None:
    _, upn = entry.user(E5)

    minimum = entry.run("Get-EXOMailbox", Identity=upn)[0]
    more = entry.run("Get-EXOMailbox", Identity=upn, Properties=["RetentionPolicy", "CustomAttribute1"])[0]

    assert "RetentionPolicy" not in minimum
    assert (more["RetentionPolicy"], more["CustomAttribute1"]) == ("Default MRM Policy", "")
    assert more["EmailAddresses"] == [f"SMTP:{upn}"]


def test_mailbox_settings_are_written_once_and_warned_about_twice(entry: Entry) -> None:
    user_id, upn = entry.user(E5)
    settings = {"HiddenFromAddressListsEnabled": True, "MaxSendSize": "25MB", "CustomAttribute1": "x"}

    assert entry.run("Set-Mailbox", Identity=upn, **settings) == []
    assert entry.warnings == []
    entry.run("Set-Mailbox", Identity=user_id, **settings)

    assert entry.warnings[0].startswith("The command completed successfully but no settings of '")
    mailbox = entry.run("Get-Mailbox", Identity=upn)[0]
    assert mailbox["HiddenFromAddressListsEnabled"] is True
    assert mailbox["MaxSendSize"] == "25 MB (26,214,400 bytes)"


def test_a_conversion_takes_its_time(entry: Entry) -> None:
    _, upn = entry.user(E5)
    entry.tenant.turn(mailbox_conversion_seconds=60)
    try:
        entry.run("Set-Mailbox", Identity=upn, Type="Shared")
        assert entry.run("Get-EXOMailbox", Identity=upn)[0]["RecipientTypeDetails"] == "UserMailbox"
        entry.tenant.advance(61)
        assert entry.run("Get-EXOMailbox", Identity=upn)[0]["RecipientTypeDetails"] == "SharedMailbox"
    finally:
        entry.tenant.turn(mailbox_conversion_seconds=0)


def test_addresses_are_added_replaced_and_never_shared(entry: Entry) -> None:
    _, upn = entry.user(E5)
    _, other = entry.user(E5)
    alias = f"alias{uuid.uuid4().hex[:6]}@{entry.tenant.domain}"

    entry.run("Set-Mailbox", Identity=upn, EmailAddresses={"Add": [f"smtp:{alias}"]})
    entry.run("Set-Mailbox", Identity=upn, WindowsEmailAddress=alias)
    mailbox = entry.run("Get-EXOMailbox", Identity=alias)[0]
    taken = entry.fails("Set-Mailbox", Identity=other, EmailAddresses={"Add": [f"smtp:{alias}"]})
    foreign = entry.fails("Set-Mailbox", Identity=other, EmailAddresses={"Add": ["smtp:a@elsewhere.example"]})

    assert mailbox["EmailAddresses"] == [f"SMTP:{alias}", f"smtp:{upn}"]
    assert mailbox["PrimarySmtpAddress"] == alias
    assert "ProxyAddressExistsException" in taken["message"]
    assert "is already being used by the proxy addresses or LegacyExchangeDN" in taken["message"]
    assert "not an accepted domain" in foreign["message"]


def test_protocols_are_switched_per_mailbox(entry: Entry) -> None:
    _, upn = entry.user(E5)

    entry.run("Set-CASMailbox", Identity=upn, ImapEnabled=False, PopEnabled=False, EwsEnabled=False)
    entry.run("Set-CASMailbox", Identity=upn, EwsEnabled=None)

    switches = entry.run("Get-EXOCasMailbox", Identity=upn)[0]
    assert (switches["ImapEnabled"], switches["PopEnabled"], switches["OWAEnabled"]) == (False, False, True)
    assert switches["EwsEnabled"] is None
    assert entry.run("Get-CASMailbox", Identity=upn)[0]["SmtpClientAuthenticationDisabled"] is None


def test_a_mailbox_goes_with_its_licence_and_a_shared_one_stays(entry: Entry) -> None:
    plain_id, plain = entry.user(E5)
    shared_id, shared = entry.user(E5)
    entry.run("Set-Mailbox", Identity=shared, Type="Shared")
    entry.run("Get-EXOMailbox", Identity=shared)

    for user_id in (plain_id, shared_id):
        entry.licences(user_id, remove=(E5,))

    assert "couldn't be found" in entry.fails("Get-EXOMailbox", Identity=plain)["message"]
    assert entry.run("Get-EXOMailbox", Identity=shared)[0]["RecipientTypeDetails"] == "SharedMailbox"


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_cmdlet_fault_strikes_once_and_after_the_write(entry: Entry) -> None:
    _, upn = entry.user(E5)
    entry.tenant.fault(
        action="status-after", face="powershell", path="/ExchangeOnlineManagement/Set-Mailbox", status=503
    )

    error = entry.fails("Set-Mailbox", Identity=upn, CustomAttribute2="done")

    assert error["http"] == 503
    assert entry.run("Get-Mailbox", Identity=upn)[0]["CustomAttribute2"] == "done"


def test_an_invented_error_record_arrives_as_described(entry: Entry) -> None:
    record = {
        "message": "Service is unavailable. Please try again",
        "fqid": "BadRequest,Some.Type",
        "category": "InvalidOperation",
    }
    entry.tenant.fault(
        action="powershell-error", path="/MicrosoftTeams/Get-CsOnlineUser", error={**record, "http": 400}
    )

    error = entry.fails("Get-CsOnlineUser", Identity="anybody")

    assert {name: error[name] for name in record} == record


@pytest.mark.parametrize("text", ["'; Remove-Mailbox *", "$(Get-Date)", "a\nb", "\x1e{}", "Ærøskøbing 日本"])
def test_text_arrives_as_it_was_sent(entry: Entry, text: str) -> None:
    _, upn = entry.user(E5)

    entry.run("Set-Mailbox", Identity=upn, CustomAttribute3=text)

    assert entry.run("Get-Mailbox", Identity=upn)[0]["CustomAttribute3"] == text
    logged = entry.tenant.state("requests")["entries"]
    sent = [one for one in logged if one["path"].endswith("/Set-Mailbox")][-1]
    assert json.loads(json.dumps(sent["body"]))["CustomAttribute3"] == text
