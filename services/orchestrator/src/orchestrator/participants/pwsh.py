"""Operations of pwsh-gateway as a plan names them (contract: operation catalogue, version 1).

Owns names, parameters and the words shown to an admin. Refuses cmdlet names and script text: the gateway's catalogue
decides how an operation is carried out. Identities are object ids, never display names (microsoft.md 4.6).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.plan import Operation
from orchestrator.domain.retry import Retry, Wait
from orchestrator.participants.graph import Account

CMDLET_SECONDS_MAX = 300
PHONE_SYSTEM = "PhoneSystem"
CALLING_PLAN = "CallingPlan"


def wait_for_mailbox(account: Account, wait: Wait) -> Operation:
    return Operation(
        key="wait-mailbox",
        target="pwsh",
        name="exchange.mailbox.get",
        params={"identity": account.user},
        subject=account.upn,
        title="Wait for the mailbox",
        wait=wait,
        timeout_seconds=CMDLET_SECONDS_MAX,
    )


def configure_mailbox(account: Account, settings: Mapping[str, Any], retry: Retry) -> Operation:
    return _settings(
        "mailbox", "exchange.mailbox.configure", "Configure the mailbox", account, settings=settings, retry=retry
    )


def configure_cas_mailbox(account: Account, settings: Mapping[str, Any], retry: Retry) -> Operation:
    title = "Configure mailbox protocols"
    return _settings("cas-mailbox", "exchange.cas-mailbox.configure", title, account, settings=settings, retry=retry)


def wait_for_teams(account: Account, *, phone: bool, wait: Wait, calling_plan: bool = False) -> Operation:
    """Ready when Teams knows the user and, where a number is wanted, when telephony (and its calling plan) is there."""
    features = [PHONE_SYSTEM, CALLING_PLAN] if calling_plan else [PHONE_SYSTEM]
    return Operation(
        key="wait-teams",
        target="pwsh",
        name="teams.user.get",
        params={"identity": account.user},
        subject=account.upn,
        title="Wait until Teams knows the user" + (" and telephony is there" if phone else ""),
        wait=replace(wait, ready={"user.FeatureTypes": {"$contains_all": features}} if phone else None),
        timeout_seconds=CMDLET_SECONDS_MAX,
    )


def assign_number(account: Account, number: FreeNumber, retry: Retry) -> Operation:
    params: dict[str, Any] = {"identity": account.user, "telephone_number": number.number, "number_type": number.type}
    if number.location_id:
        params["location_id"] = number.location_id
    return Operation(
        key="number",
        target="pwsh",
        name="teams.number.assign",
        params=params,
        subject=account.upn,
        title=f"Assign {number.number}",
        retry=retry,
        timeout_seconds=CMDLET_SECONDS_MAX,
        before="no number",
        after=number.number,
    )


def grant_policy(
    account: Account, policy_type: str, name: str | None, *, before: str | None, retry: Retry
) -> Operation:
    """A name of None takes the direct assignment away: the tenant's global policy applies."""
    return Operation(
        key=f"policy:{policy_type}",
        target="pwsh",
        name="teams.policy.grant",
        params={"identity": account.user, "policy_type": policy_type, "policy_name": name},
        subject=account.upn,
        title=f"Grant {policy_type} {name or '(global)'}",
        retry=retry,
        timeout_seconds=CMDLET_SECONDS_MAX,
        before=before or "unknown",
        after=name or "global",
    )


def prove_mailbox(account: Account, expected: Mapping[str, Any], retry: Retry) -> Operation:
    """Read back what Exchange Online holds now; any difference fails the plan."""
    title = "Read back from Exchange Online"
    return _proof("verify-exchange", "exchange.mailbox.get", title, account, expected=expected, retry=retry)


def prove_teams(account: Account, expected: Mapping[str, Any], retry: Retry) -> Operation:
    """Read back what Teams holds now; any difference fails the plan."""
    return _proof("verify-teams", "teams.user.get", "Read back from Teams", account, expected=expected, retry=retry)


def _settings(
    key: str, name: str, title: str, account: Account, *, settings: Mapping[str, Any], retry: Retry
) -> Operation:
    return Operation(
        key=key,
        target="pwsh",
        name=name,
        params={"identity": account.user, "settings": dict(settings)},
        subject=account.upn,
        title=f"{title}: {', '.join(settings)}",
        retry=retry,
        timeout_seconds=CMDLET_SECONDS_MAX,
        after="; ".join(f"{setting}: {value}" for setting, value in settings.items()),
    )


def _proof(
    key: str, name: str, title: str, account: Account, *, expected: Mapping[str, Any], retry: Retry
) -> Operation:
    return Operation(
        key=key,
        target="pwsh",
        name=name,
        params={"identity": account.user},
        subject=account.upn,
        title=title,
        retry=retry,
        expect=expected,
        timeout_seconds=CMDLET_SECONDS_MAX,
    )
