# ruff: noqa: E501 - a table is read by its lines
"""The shipped error rules against the texts Microsoft is known to answer, and what may stand in a table."""

from typing import Any

import pytest

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.adapters import shipped
from pwsh_gateway.domain.error_rules import facts_of, parse_rules, readable, request_ids, rules_as_data
from pwsh_gateway.domain.operations import Module
from pwsh_gateway.domain.protocol import CmdletError

RULES, DIGEST = shipped.error_rules()
TEAMS: Module = "MicrosoftTeams"
EXCHANGE: Module = "ExchangeOnlineManagement"
NOT_FOUND = "Ex6F9304|Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException|The operation couldn't be performed because object 'x' couldn't be found on 'AM0PR'."
FORBIDDEN = '{"code":"Forbidden","message":"You are not authorized to perform this action","action":"Please refer to documentation. CorrelationId: 5b1f0f51-6f1c-4a53-9a43-7f9b1c9d2a10","errorCode":40301}'
GRAPH = "Error occurred while executing  Code: Forbidden Message: Missing role permissions on the request. HttpStatusCode: Forbidden"
ON_PREMISES = "The user already has a telephone number set in the on-premises Active Directory and synchronized to the cloud. To manage this"
SCOPE = "The operation on mailbox \"x\" failed because it's out of the current user's write scope. The action 'Set-Mailbox' can't be performed on the object 'x' because the object is being synchronized from your on-premises organization."


def error(message: str = "", **fields: Any) -> CmdletError:
    return CmdletError(message, **fields)


@pytest.mark.parametrize(
    ("module", "record", "code", "outcome", "action"),
    [
        (TEAMS, error("Telephone Number '+1' has already been assigned to another user"), "number-taken", "refused", "fail"),
        (TEAMS, error("Telephone Number '+1' is not found from tenant 'x'"), "number-unknown", "refused", "fail"),
        (TEAMS, error("User 'x' lacks appropriate licenses to assign a 'CallingPlan' number"), "licence-missing", "refused", "fail"),
        (TEAMS, error(ON_PREMISES), "on-prem-number", "refused", "fail"),
        (TEAMS, error("The server responded with a Request Error, Status: NotFound", fqid="NotFound,Microsoft.Teams.ConfigAPI.Cmdlets.Generated.Cmdlets.SetCsPhoneNumberAssignment_Set"), "not-found", "failed", "fail"),
        (TEAMS, error('Policy "X" is not a user policy. You can assign only a user policy to a specific user.'), "policy-unknown", "failed", "fail"),
        (TEAMS, error('Management object not found for identity "x".'), "not-found", "failed", "fail"),
        (TEAMS, error("Service is unavailable. Please try again", fqid="BadRequest"), "unavailable", "failed", "retry"),
        (TEAMS, error("Access Denied."), "permission-missing", "refused", "fail"),
        (TEAMS, error(FORBIDDEN), "permission-missing", "refused", "fail"),
        (TEAMS, error(GRAPH), "permission-missing", "refused", "fail"),
        (TEAMS, error("You must call the Connect-MicrosoftTeams cmdlet before calling any other cmdlets."), "session-lost", "failed", "reconnect"),
        (TEAMS, error("[BadArgument] : This cmdlet is no longer supported, please consult"), "unsupported", "failed", "fail"),
        (EXCHANGE, error(NOT_FOUND), "not-found", "failed", "fail"),
        (EXCHANGE, error("||The operation", reason="ManagementObjectNotFoundException"), "not-found", "failed", "fail"),
        (EXCHANGE, error("Cmdlet throttling is in effect"), "throttled", "failed", "retry-after"),
        (EXCHANGE, error("no", http=429), "throttled", "failed", "retry-after"),
        (EXCHANGE, error(SCOPE), "on-prem-mastered", "refused", "fail"),
        (EXCHANGE, error('Ex1|Microsoft.Exchange.Data.ProxyAddressExistsException|The proxy address "SMTP:x" is already'), "address-taken", "refused", "fail"),
        (EXCHANGE, error("The role assigned to application x isn't supported in this scenario."), "permission-missing", "refused", "fail"),
        (EXCHANGE, error("The term 'Get-Mailbox' is not recognized as a name of a cmdlet", fqid="CommandNotFoundException"), "permission-missing", "refused", "fail"),
        (EXCHANGE, error("A parameter cannot be found that matches parameter name 'X'.", fqid="NamedParameterNotFound,Set-Mailbox"), "permission-missing", "refused", "fail"),
        (EXCHANGE, error("A server side error has occurred because of which the operation could not be completed."), "server-error", "failed", "retry"),
        (EXCHANGE, error("The service is temporarily unavailable"), "unavailable", "failed", "retry"),
        (EXCHANGE, error("x", http=503), "unavailable", "failed", "retry"),
        (EXCHANGE, error("Access token has expired"), "credential", "failed", "reconnect"),
        (EXCHANGE, error("AADSTS700027: The certificate with identifier is not registered"), "credential", "failed", "fail"),
        (EXCHANGE, error("AADSTS700016: Application not found in the directory"), "credential", "failed", "fail"),
        (EXCHANGE, error("AADSTS700024: Client assertion is not within its valid time"), "credential", "failed", "retry"),
        (EXCHANGE, error("late", fqid="UcmeshTimeout"), "timeout", "failed", "retry"),
        (EXCHANGE, error("other", fqid="UcmeshTenantMismatch"), "tenant-mismatch", "failed", "fail"),
        (EXCHANGE, error("nobody has seen this"), "cmdlet-error", "failed", "fail"),
    ],
)  # fmt: skip
def test_known_errors(module: Module, record: CmdletError, code: str, outcome: str, action: str) -> None:
    rule = RULES.rule_for(record, module)
    assert (rule.code, rule.outcome, rule.action) == (code, outcome, action), rule.id


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_a_refusal_is_never_retryable_and_tells_what_to_do_if_a_permission_is_missing(rule: Any) -> None:
    assert not (rule.outcome == "refused" and rule.retryable)
    assert rule.remedy or rule.code != "permission-missing"


def test_the_first_rule_that_fits_decides_and_a_disabled_one_does_not() -> None:
    first = {"id": "a", "match": {"message": "boom"}, "class": "business", "action": "fail", "code": "first"}
    second = {
        "id": "b",
        "match": {"message": ["bang", "boom"]},
        "class": "business",
        "action": "fail",
        "code": "second",
    }
    assert parse_rules([first, second]).rule_for(error("It went BOOM"), TEAMS).code == "first"
    assert parse_rules([{**first, "enabled": False}, second]).rule_for(error("It went BOOM"), TEAMS).code == "second"


def test_every_key_of_a_match_must_fit() -> None:
    rule = {
        "id": "a", "class": "business", "action": "fail", "code": "narrow",
        "match": {"message": "boom", "http": [400, 409], "cmdlet": "Set-", "module": TEAMS, "category": "InvalidOperation"},
    }  # fmt: skip
    rules = parse_rules([rule])
    fitting = {"http": 409, "cmdlet": "Set-CsPhoneNumberAssignment", "category": "InvalidOperation"}
    assert rules.rule_for(error("boom", **fitting), TEAMS).code == "narrow"
    for changed in ({"http": 404}, {"cmdlet": "Get-CsOnlineUser"}, {"category": "ObjectNotFound"}):
        assert rules.rule_for(error("boom", **{**fitting, **changed}), TEAMS).code == "cmdlet-error"
    assert rules.rule_for(error("boom", **fitting), EXCHANGE).code == "cmdlet-error"


GOOD: dict[str, Any] = {"id": "a", "match": {"message": "x"}, "class": "transient", "action": "retry", "code": "x-y"}


@pytest.mark.parametrize(
    "rules",
    [
        "text",
        {"id": "a"},
        ["text"],
        [{**GOOD, "match": {}}],
        [{**GOOD, "match": {"regex": ".*"}}],
        [{**GOOD, "match": {"message": [""]}}],
        [{**GOOD, "match": {"message": ["x" * 301]}}],
        [{**GOOD, "match": {"http": ["404"]}}],
        [{**GOOD, "class": "strange"}],
        [{**GOOD, "action": "reboot"}],
        [{**GOOD, "outcome": "succeeded"}],
        [{**GOOD, "code": "Not Kebab"}],
        [{**GOOD, "attempts_max": 0}],
        [{**GOOD, "attempts_max": 21}],
        [{**GOOD, "retryable": "yes"}],
        [{**GOOD, "colour": "red"}],
        [GOOD, GOOD],
        [{k: v for k, v in GOOD.items() if k != "id"}],
        [{**GOOD, "id": str(n)} for n in range(201)],
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(rules: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_rules(rules)
    assert refused.value.code == "invalid-rules"


def test_the_shipped_table_survives_the_database() -> None:
    assert parse_rules(rules_as_data(RULES)) == RULES
    assert len(DIGEST) == 64


def test_message_formats_are_taken_apart() -> None:
    assert readable(error(NOT_FOUND)).startswith("The operation couldn't be performed")
    assert readable(error(FORBIDDEN)) == "You are not authorized to perform this action"
    assert facts_of(error(GRAPH), TEAMS).http == 403
    assert facts_of(error("[InternalServerError] : gone"), TEAMS).code == "InternalServerError"
    assert readable(error("{not json")) == "{not json"


def test_request_ids_are_found() -> None:
    assert request_ids(
        error(
            FORBIDDEN,
            details="request-id: 5B1F0F51-6f1c-4a53-9a43-7f9b1c9d2a10 RequestId: 00000000-0000-4000-8000-000000000001",
        )
    ) == (
        "5b1f0f51-6f1c-4a53-9a43-7f9b1c9d2a10",
        "00000000-0000-4000-8000-000000000001",
    )
