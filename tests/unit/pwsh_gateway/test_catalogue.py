# ruff: noqa: E501 - a table is read by its lines
"""The shipped catalogue against the published parameter sets, and what a command may not ask for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.adapters import shipped
from pwsh_gateway.domain.catalogue import Catalogue, Entry
from pwsh_gateway.domain.catalogue_parsing import CatalogueError, parse_catalogue

FACTS: Mapping[str, Any] = json.loads((Path(__file__).parent / "data" / "cmdlets.json").read_text())["cmdlets"]
CATALOGUE = shipped.catalogue()
USER = "zoe.mueller@northwind.example"


def calls(catalogue: Catalogue) -> list[tuple[str, str, set[str], str]]:
    """(operation, cmdlet, parameters, module) of every call any operation may make, with optional ones left in."""
    found = []
    for entry in catalogue.entries.values():
        for read in entry.reads:
            found.append((entry.operation, read.cmdlet, set(read.arguments), entry.module))
        if entry.write is not None:
            settings = {name for p in entry.params.values() if p.settings for name in p.settings}
            for cmdlet in entry.write.names():
                found.append((entry.operation, cmdlet, set(entry.write.arguments) | settings, entry.module))
    return found


@pytest.mark.parametrize(
    ("operation", "cmdlet", "given", "module"),
    calls(CATALOGUE),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_call_fits_a_published_parameter_set(operation: str, cmdlet: str, given: set[str], module: str) -> None:
    facts = FACTS[cmdlet]
    assert facts["module"] == module
    fitting = [
        name
        for name, parameters in facts["sets"].items()
        if given <= set(parameters) and {p for p, required in parameters.items() if required} <= given
    ]
    assert fitting, f"{operation}: {cmdlet} {sorted(given)} fits none of {facts['sets']}"


@pytest.mark.parametrize("cmdlet", ["Set-Mailbox", "Set-CASMailbox"])
def test_every_setting_has_the_type_that_is_published(cmdlet: str) -> None:
    kinds = {"bool": {"Boolean", "System.Boolean"}, "int": {"Unlimited", "Int32"}, "size": {"Unlimited"}}
    texts = {"string", "identity", "smtp", "enum", "strings"}
    for entry in CATALOGUE.entries.values():
        if entry.write is None or entry.write.cmdlet != cmdlet:
            continue
        for parameter in entry.params.values():
            for name, setting in (parameter.settings or {}).items():
                published = FACTS[cmdlet]["parameters"][name]["type"]
                if setting.kind.kind in texts:
                    assert published not in {"Boolean", "System.Boolean"}, name
                else:
                    assert published in kinds[setting.kind.kind], name


def test_a_session_is_allowed_what_the_catalogue_names_and_nothing_else() -> None:
    allowed = CATALOGUE.allowed("MicrosoftTeams")
    assert allowed["Remove-CsPhoneNumberAssignment"] == ["Identity", "NumberType", "TelephoneNumber"]
    assert "Set-Mailbox" not in allowed
    assert all(set(names).isdisjoint({"Global", "Group", "Confirm"}) for names in allowed.values())
    assert {"Set-Mailbox", "Set-CASMailbox"} <= set(CATALOGUE.allowed("ExchangeOnlineManagement"))


def entry(operation: str) -> Entry:
    return CATALOGUE.find(operation, 1)


ASSIGN = {"identity": USER, "telephone_number": "+41445551000", "number_type": "DirectRouting"}
GRANT = {"identity": USER, "policy_type": "TeamsCallingPolicy", "policy_name": "AllowCalling"}
MAILBOX = {"identity": USER, "settings": {"MessageCopyForSentAsEnabled": True}}


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("teams.tenant.probe", {}),
        ("teams.user.get", {"identity": "b7d9a0e2-9c1d-4a7b-8c56-1d2e3f405162"}),
        ("teams.number.assign", ASSIGN),
        ("teams.number.assign", ASSIGN | {"location_id": None}),
        ("teams.number.assign", ASSIGN | {"telephone_number": "+41445551000;ext=12"}),
        ("teams.policy.grant", GRANT),
        ("teams.policy.grant", GRANT | {"policy_name": None}),
        ("exchange.mailbox.configure", MAILBOX),
        ("exchange.mailbox.configure", {"identity": USER, "settings": {"Type": "Shared", "MaxSendSize": "35MB"}}),
        ("exchange.cas-mailbox.configure", {"identity": USER, "settings": {"ImapEnabled": False}}),
    ],
)
def test_parameters_that_are_taken(operation: str, params: dict[str, Any]) -> None:
    checked = entry(operation).check(params)
    assert checked == {name: value for name, value in params.items() if name != "location_id" or value is not None}


@pytest.mark.parametrize(
    ("operation", "params", "names"),
    [
        pytest.param("teams.user.get", {}, "identity", id="missing"),
        pytest.param("teams.user.get", {"identity": None}, "identity", id="null identity"),
        pytest.param("teams.user.get", {"identity": ""}, "identity", id="empty identity"),
        pytest.param("teams.user.get", {"identity": "  "}, "identity", id="blank identity"),
        pytest.param("teams.user.get", {"identity": "*"}, "identity", id="wildcard"),
        pytest.param("teams.user.get", {"identity": "zoe*@northwind.example"}, "identity", id="wildcard inside"),
        pytest.param("teams.user.get", {"identity": "zoe?@northwind.example"}, "identity", id="question mark"),
        pytest.param("teams.user.get", {"identity": "[a-z]@northwind.example"}, "identity", id="range"),
        pytest.param("teams.user.get", {"identity": "Zoe Mueller"}, "identity", id="display name"),
        pytest.param("teams.user.get", {"identity": "a@b.c; Remove-Mailbox *"}, "identity", id="a command"),
        pytest.param("teams.user.get", {"identity": "$(whoami)@northwind.example"}, "identity", id="a subexpression"),
        pytest.param("teams.user.get", {"identity": "zoe\x1e@northwind.example"}, "identity", id="a separator"),
        pytest.param("teams.user.get", {"identity": ["a@b.example"]}, "identity", id="a list"),
        pytest.param("teams.user.get", {"identity": USER, "Filter": "x"}, "Filter", id="unknown parameter"),
        pytest.param("teams.number.assign", ASSIGN | {"telephone_number": "0445551000"}, "telephone_number", id="local"),
        pytest.param("teams.number.assign", ASSIGN | {"telephone_number": "tel:+4144"}, "telephone_number", id="tel:"),
        pytest.param("teams.number.assign", ASSIGN | {"number_type": "Mobile"}, "number_type", id="unknown type"),
        pytest.param("teams.number.assign", ASSIGN | {"location_id": "null"}, "location_id", id="the text null"),
        pytest.param("teams.policy.grant", GRANT | {"policy_type": "TeamsNoPolicy"}, "policy_type", id="no such policy"),
        pytest.param("teams.policy.grant", GRANT | {"policy_name": ""}, "policy_name", id="empty policy"),
        pytest.param("teams.policy.grant", GRANT | {"policy_name": "a\nb"}, "policy_name", id="policy with a newline"),
        pytest.param("teams.policy.grant", GRANT | {"policy_name": "Allow*"}, "policy_name", id="policy wildcard"),
        pytest.param("exchange.mailbox.configure", {"identity": USER, "settings": {}}, "settings", id="no settings"),
        pytest.param("exchange.mailbox.configure", MAILBOX | {"settings": None}, "settings", id="null settings"),
        pytest.param(
            "exchange.mailbox.configure", MAILBOX | {"settings": {"Password": "x"}}, "settings.Password", id="not listed"
        ),
        pytest.param(
            "exchange.mailbox.configure", MAILBOX | {"settings": {"AuditEnabled": "yes"}}, "settings.AuditEnabled", id="text"
        ),
        pytest.param(
            "exchange.mailbox.configure", MAILBOX | {"settings": {"AuditEnabled": None}}, "settings.AuditEnabled", id="null"
        ),
        pytest.param(
            "exchange.mailbox.configure", MAILBOX | {"settings": {"RecipientLimits": True}}, "settings.RecipientLimits", id="bool"
        ),
        pytest.param(
            "exchange.mailbox.configure", MAILBOX | {"settings": {"MailTip": "x" * 176}}, "settings.MailTip", id="too long"
        ),
        pytest.param(
            "exchange.mailbox.configure", MAILBOX | {"settings": {"MailTip": "\ud800"}}, "settings.MailTip", id="no Unicode"
        ),
    ],
)  # fmt: skip
def test_parameters_that_are_refused_before_anything_runs(operation: str, params: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        entry(operation).check(params)
    assert refused.value.code == "invalid-params"
    assert refused.value.detail["parameter"] == names


def test_an_operation_that_is_not_listed_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        CATALOGUE.find("exchange.mailbox.delete", 1)
    assert refused.value.code == "unknown-operation"
    with pytest.raises(InvalidInput):
        CATALOGUE.find("teams.user.get", 2)


GOOD = """
module: MicrosoftTeams
reads:
  user: {cmdlet: Get-CsOnlineUser, arguments: {Identity: $param.identity}, fields: {LineURI: {type: line-uri}}}
operations:
  - operation: teams.number.clear
    version: 1
    title: Clear
    params: {identity: {type: identity}}
    reads: [user]
    desired: {LineURI: null}
    write: {cmdlet: Remove-CsPhoneNumberAssignment, arguments: {Identity: $param.identity}}
    undo: {operation: teams.number.clear, version: 1, params: {identity: $param.identity}}
    output: {}
"""


def test_a_catalogue_document_that_is_taken() -> None:
    assert list(parse_catalogue([yaml.safe_load(GOOD)]).entries) == [("teams.number.clear", 1)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("module: MicrosoftTeams", "module: ActiveDirectory", "module"),
        ("Get-CsOnlineUser", "Remove-CsOnlineUser", "reading"),
        ("Get-CsOnlineUser", "Get-CsOnlineUser; Get-Date", "cmdlet name"),
        ("arguments: {Identity: $param.identity}}\n    undo", "arguments: {PolicyName: x}}\n    undo", "whole tenant"),
        ("arguments: {Identity: $param.identity}, fields", "arguments: {Identity: $param.who}, fields", "resolve"),
        ("arguments: {Identity: $param.identity}, fields", "arguments: {HttpPipelinePrepend: x}, fields", "HttpPipelinePrepend"),
        ("{type: line-uri}", "{type: phone}", "phone"),
        ("{type: line-uri}", "{type: string, colour: red}", "colour"),
        ("desired: {LineURI: null}", "desired: {Nothing: null}", "Nothing"),
        ("    desired: {LineURI: null}\n", "", "desired"),
        ("reads: [user]", "reads: []", "reads first"),
        ("reads: [user]", "reads: [mailbox]", "mailbox"),
        ("undo: {operation: teams.number.clear,", "undo: {operation: teams.number.assign,", "undo"),
        ("version: 1, params: {identity: $param.identity}}", "version: 1, params: {}}", "undo"),
        ("    title: Clear\n", "    title: Clear\n    script: Get-Date\n", "script"),
        ("{identity: {type: identity}}", "{identity: {type: enum}}", "values"),
    ],
)  # fmt: skip
def test_a_broken_catalogue_is_refused_and_says_why(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(CatalogueError, match=said):
        parse_catalogue([yaml.safe_load(GOOD.replace(old, new))])


def test_the_same_operation_twice_is_refused() -> None:
    with pytest.raises(CatalogueError, match="twice"):
        parse_catalogue([yaml.safe_load(GOOD), yaml.safe_load(GOOD)])
