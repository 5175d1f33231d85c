"""A person joins, or what HR says about them changed.

    user -> groups
         -> licences -> mailbox is there -> mailbox settings, protocols
                     -> Teams is there   -> number, policies
         -> manager is there -> manager                      (bounded, the plan goes on without)
    last: read back from Entra ID, Exchange Online and Teams

Owns the order and what each step waits for. Only what differs is planned: the same person planned again after success
is an empty plan. Refuses to reserve: seats, number and name are given. Source: microsoft.md 8.7.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.desired import Desired, Difference
from orchestrator.domain.naming import LOCAL_PART_LENGTH_MAX
from orchestrator.domain.numbers import FreeNumber
from orchestrator.domain.plan import Lane, Plan, PlanBuilder
from orchestrator.participants import graph, mesh, pwsh
from orchestrator.participants.graph import Account
from orchestrator.participants.pacing import Pacing

REWRITTEN = frozenset({"Type", "ForwardingAddress", "ForwardingSmtpAddress", "MailTip"})


@lean_dataclass(frozen=True, slots=True)
class Joiner:
    """Everything decided about one person. `number` is the reserved or the kept one; `manager_id` the known user id."""

    plan_id: UUID
    person_id: UUID
    customer: str
    tenant_id: str
    employee_id: str
    upn: str
    site: str
    profile: str
    desired: Desired
    difference: Difference
    proved_policies: Mapping[str, str | None]
    number: FreeNumber | None = None
    manager_id: str | None = None
    lane: Lane = "normal"
    not_before: datetime | None = None

    @property
    def account(self) -> Account:
        """The user that is there, or the one the first step creates."""
        user = self.difference.user
        return Account(user.user_id if user else graph.CREATED_USER, self.upn)


def joiner(person: Joiner, pacing: Pacing) -> Plan:
    """The plan of one person; it has no operations when everything is as it should be."""
    plan = PlanBuilder(
        plan_id=person.plan_id,
        customer=person.customer,
        tenant_id=person.tenant_id,
        employee_id=person.employee_id,
        person_id=person.person_id,
        lane=person.lane,
    )
    if not person.difference.is_empty:
        user = _user(plan, person, pacing)
        licences = _licences(plan, person, pacing, after=user)
        entra = [*user, *licences, *_groups(plan, person, pacing, after=user)]
        exchange = _mailbox(plan, person, pacing, after=licences or user)
        teams = _teams(plan, person, pacing, after=licences or user)
        manager = _manager(plan, person, pacing, after=user)
        _proofs(plan, person, pacing, entra=[*entra, *manager], exchange=exchange, teams=teams)
    return plan.build(not_before=person.not_before, effects=_effects(person))


def _user(plan: PlanBuilder, person: Joiner, pacing: Pacing) -> list[str]:
    found, attributes = person.difference.user, person.difference.attributes
    if found is None:
        nickname = person.upn.partition("@")[0][:LOCAL_PART_LENGTH_MAX]
        created = {**attributes, "mailNickname": nickname}
        return [plan.add(graph.ensure_user(person.upn, person.employee_id, created, pacing.visible))]
    if attributes:
        before = found.attributes
        return [plan.add(graph.patch_user(person.account, attributes, before, pacing.visible))]
    return []


def _licences(plan: PlanBuilder, person: Joiner, pacing: Pacing, *, after: list[str]) -> list[str]:
    add, remove = person.difference.add_licences, person.difference.remove_licences
    if not (add or remove):
        return []
    return [plan.add(graph.assign_licences(person.account, add, remove, pacing.visible), after=after)]


def _groups(plan: PlanBuilder, person: Joiner, pacing: Pacing, *, after: list[str]) -> list[str]:
    account, retry = person.account, pacing.visible
    joined = person.difference.add_groups.items()
    left = person.difference.remove_groups.items()
    return [
        *plan.add_all((graph.add_member(account, gid, name, retry) for gid, name in joined), after=after),
        *plan.add_all((graph.remove_member(account, gid, name, retry) for gid, name in left), after=after),
    ]


def _mailbox(plan: PlanBuilder, person: Joiner, pacing: Pacing, *, after: list[str]) -> list[str]:
    difference = person.difference
    licensed = bool(difference.add_licences) and person.desired.has_mailbox
    if not (licensed or difference.mailbox or difference.cas_mailbox):
        return []
    account, retry = person.account, pacing.visible
    there = plan.add(pwsh.wait_for_mailbox(account, pacing.mailbox), after=after)
    steps = [there]
    if difference.mailbox:
        steps.append(plan.add(pwsh.configure_mailbox(account, difference.mailbox, retry), after=there))
    if difference.cas_mailbox:
        steps.append(plan.add(pwsh.configure_cas_mailbox(account, difference.cas_mailbox, retry), after=there))
    return steps


def _teams(plan: PlanBuilder, person: Joiner, pacing: Pacing, *, after: list[str]) -> list[str]:
    difference = person.difference
    licensed = bool(difference.add_licences) and person.desired.has_teams
    if not (licensed or difference.needs_number or difference.teams_policies):
        return []
    account = person.account
    phone = person.desired.wants_number
    calling_plan = person.number is not None and person.number.type == pwsh.CALLING_PLAN
    wait = pwsh.wait_for_teams(account, phone=phone, wait=pacing.teams, calling_plan=calling_plan)
    there = plan.add(wait, after=after)
    steps = [there]
    if difference.needs_number and person.number is not None:
        steps.append(plan.add(pwsh.assign_number(account, person.number, pacing.visible), after=there))
    before = person.proved_policies
    steps.extend(
        plan.add(pwsh.grant_policy(account, kind, name, before=before.get(kind), retry=pacing.policy), after=there)
        for kind, name in difference.teams_policies.items()
    )
    return steps


def _manager(plan: PlanBuilder, person: Joiner, pacing: Pacing, *, after: list[str]) -> list[str]:
    employee_id = person.desired.manager
    if not person.difference.needs_manager or employee_id is None:
        return []
    account, retry = person.account, pacing.visible
    if person.manager_id is not None:
        return [plan.add(graph.set_manager(account, person.manager_id, employee_id, retry), after=after)]
    seconds = person.desired.manager_wait_seconds
    there = plan.add(mesh.await_person(person.customer, employee_id, pacing.manager, seconds))
    manager = {"$from": there, "path": "user_id"}
    return [plan.add(graph.set_manager(account, manager, employee_id, retry), after=after)]


def _proofs(
    plan: PlanBuilder, person: Joiner, pacing: Pacing, *, entra: list[str], exchange: list[str], teams: list[str]
) -> None:
    account, desired = person.account, person.desired
    plan.add(graph.prove_user(account, _expected_entra(person), pacing.proof), after=entra)
    if exchange:
        plan.add(pwsh.prove_mailbox(account, _expected_mailbox(desired), pacing.proof), after=exchange)
    if teams:
        plan.add(pwsh.prove_teams(account, _expected_teams(person), pacing.proof), after=teams)


def _expected_entra(person: Joiner) -> dict[str, Any]:
    """Every attribute, licence and group of the desired state, not only what this plan changed."""
    desired = person.desired
    expected: dict[str, Any] = {f"user.{name}": value for name, value in desired.attributes.items()}
    expected["user.userPrincipalName"] = {"$ignore_case": person.upn}
    expected["user.employeeId"] = person.employee_id
    if desired.licences:
        expected["user.assignedLicenses.skuId"] = {"$contains_all": [each.sku_id for each in desired.licences]}
    if desired.groups:
        expected["group_ids"] = {"$contains_all": list(desired.groups)}
    return expected


def _expected_mailbox(desired: Desired) -> dict[str, Any]:
    return {
        "mailbox.RecipientTypeDetails": "UserMailbox",
        **_expected_settings("mailbox", desired.mailbox),
        **_expected_settings("cas", desired.cas_mailbox),
    }


def _expected_settings(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that read back as they were written: Exchange rewrites sizes, addresses and formatted text."""
    expected: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, bool | int):
            expected[f"{section}.{name}"] = value
        elif isinstance(value, str) and name not in REWRITTEN and not name.endswith(("Size", "Quota")):
            expected[f"{section}.{name}"] = {"$ignore_case": value}
    return expected


def _expected_teams(person: Joiner) -> dict[str, Any]:
    policies = person.desired.teams_policies
    expected: dict[str, Any] = {
        f"user.{kind}": {"$ignore_case": name} if name is not None else None for kind, name in policies.items()
    }
    if person.desired.wants_number and person.number is not None:
        # Teams says "tel:+41...", the gateway may have taken the scheme off.
        uri = person.number.number
        expected["user.LineURI"] = {"$one_of": [uri, {"$ignore_case": f"tel:{uri}"}]}
        expected["user.EnterpriseVoiceEnabled"] = True
    return expected


def _effects(person: Joiner) -> dict[str, Any]:
    difference = person.difference
    return {
        "site": person.site,
        "profile": person.profile,
        "upn": person.upn,
        "adopts": difference.user.user_id if difference.user else None,
        "licences": [licence.part_number for licence in person.desired.licences],
        "seats": {each.part_number: 1 for each in difference.add_licences if each.sku_id in difference.seats},
        "number": person.number.number if person.number else None,
    }
