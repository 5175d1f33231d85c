"""What disturbs a cmdlet, over every way in: faults after the write, invented error records, text like code."""

import json

import pytest

from support.cmdlet_entry import E5, Entry


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
