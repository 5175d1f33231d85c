"""The Exchange cmdlets, over every way in."""

import uuid

from support.cmdlet_entry import E5, Entry


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
