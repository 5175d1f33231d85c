"""How a call is read: Graph paths, queries and batches, masked bodies, mailbox sizes, PowerShell binding."""

from typing import Any

import pytest

from ucmesh_simulator.directory.batch import parse_batch
from ucmesh_simulator.directory.errors import GraphError
from ucmesh_simulator.directory.messages import parse_query
from ucmesh_simulator.directory.routes import match
from ucmesh_simulator.exchange.mailboxes import shown_size
from ucmesh_simulator.powershell.parameters import find_cmdlet
from ucmesh_simulator.pwsh_host.binding import bind
from ucmesh_simulator.pwsh_host.records import HostError
from ucmesh_simulator.requests_log import masked


def test_paths_are_matched_without_regard_to_case_and_ids_keep_theirs() -> None:
    route, ids = match("POST", ["Users", "A@b.C", "AssignLicense"])

    assert (route.shape, ids) == (("users", "*", "assignlicense"), ["A@b.C"])
    assert match("GET", ["applications(appId='X')"])[1] == ["(appId='X')"]
    with pytest.raises(GraphError) as unknown:
        match("GET", ["nothing"])
    with pytest.raises(GraphError) as method:
        match("PUT", ["users"])
    assert (unknown.value.status, method.value.status) == (400, 405)


def test_query_options_may_come_without_their_dollar() -> None:
    assert parse_query("select=id&$TOP=5&$filter=a%20eq%20%27b%26c%27") == {
        "$select": "id",
        "$top": "5",
        "$filter": "a eq 'b&c'",
    }


def test_a_batch_item_needs_its_dependency_before_it() -> None:
    with pytest.raises(GraphError):
        parse_batch({"requests": [{"id": "2", "dependsOn": ["1"], "method": "GET", "url": "/users"}]})
    assert parse_batch({"requests": [{"id": "1", "method": "get", "url": "users"}]})[0].url == "/users"


def test_secrets_are_masked_at_any_depth() -> None:
    assert masked({"a": [{"passwordProfile": {"password": "x"}, "keep": 1}]}) == {
        "a": [{"passwordProfile": "***", "keep": 1}]
    }


@pytest.mark.parametrize(
    ("given_size", "shown"),
    [
        ("49.5GB", "49.5 GB (53,150,220,288 bytes)"),
        ("25 MB", "25 MB (26,214,400 bytes)"),
        ("Unlimited", "Unlimited"),
        (1024, "1024 B (1,024 bytes)"),
    ],
)
def test_sizes_are_shown_the_way_exchange_shows_them(given_size: object, shown: str) -> None:
    assert shown_size(given_size) == shown


def bound(module: str, name: str, **given_values: Any) -> dict[str, Any]:
    cmdlet = find_cmdlet(module, name)
    assert cmdlet is not None
    return bind(cmdlet, given_values)


def test_names_bind_by_alias_and_unambiguous_beginning() -> None:
    assert bound(
        "MicrosoftTeams", "Set-CsPhoneNumberAssignment", identity="a", PhoneNumber="+1", NumberT="x", ErrorAction="Stop"
    ) == {
        "Identity": "a",
        "TelephoneNumber": "+1",
        "NumberType": "x",
    }


@pytest.mark.parametrize(
    ("name", "values", "fqid"),
    [
        ("Set-CsPhoneNumberAssignment", {"Identity": "a"}, "AmbiguousParameterSet"),
        ("Set-CsPhoneNumberAssignment", {"Identity": "a", "NumberType": "x"}, "MissingMandatoryParameter"),
        ("Set-CsPhoneNumberAssignment", {"N": "x"}, "AmbiguousParameter"),
        ("Set-CsPhoneNumberAssignment", {"Nope": "x"}, "NamedParameterNotFound"),
        ("Get-CsTenant", {"ResultSize": 1}, "NamedParameterNotFound"),
    ],
)
def test_what_does_not_bind_has_powershells_own_id(name: str, values: dict[str, Any], fqid: str) -> None:
    with pytest.raises(HostError) as caught:
        bound("MicrosoftTeams", name, **values)
    assert caught.value.frame["fqid"] == f"{fqid},{name}"
