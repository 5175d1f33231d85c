"""A Teams user as the cmdlets see it. Owns lookup by identity, feature types and the shape of Get-CsOnlineUser's
object."""

import hashlib
from collections.abc import Iterator
from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.clock import iso
from ucmesh_simulator.objects import Grant, User
from ucmesh_simulator.plans import feature_plans
from ucmesh_simulator.tenant import Tenant

ALWAYS = ("Identity", "UserPrincipalName", "Alias", "AccountEnabled", "DisplayName")


def find_teams_user(tenant: Tenant, identity: str) -> User | None:
    """By object id, UPN, SIP address or alias; None while Teams does not know the user."""
    name = identity.lower().removeprefix("sip:")
    user = tenant.find_user(name)
    if user is None and "@" not in name:
        user = next(
            (one for one in tenant.users.values() if str(one.props.get("mailNickname", "")).lower() == name), None
        )
    return user if user is not None and is_known(tenant, user) else None


def is_known(tenant: Tenant, user: User) -> bool:
    return user.teams is not None and user.teams.visible_at <= tenant.now()


def listed_users(tenant: Tenant) -> Iterator[User]:
    """What a list without -Identity shows: Teams users, and people without a licence once Teams heard of them."""
    now, delay = tenant.now(), tenant.knobs.teams_provisioning_seconds
    for user in tenant.users.values():
        if is_known(tenant, user) or (user.teams is None and user.created_at + delay <= now):
            yield user


def features_of(tenant: Tenant, user: User) -> list[str]:
    now = tenant.now()
    return [
        feature
        for feature, plans in feature_plans().items()
        if any(user.plan_ready.get(plan, float("inf")) <= now for plan in plans)
    ]


def policy_types() -> dict[str, dict[str, Any]]:
    types: dict[str, dict[str, Any]] = facts.load("policies.json")["types"]
    return types


def granted(tenant: Tenant, user: User, policy_type: str) -> str | None:
    """The direct assignment reads show; None is the tenant's default, or what a group brings."""
    grant = user.teams.grants.get(policy_type) if user.teams is not None else None
    if grant is None:
        return None
    return grant.name if grant.effective_at <= tenant.now() else grant.former


def give(tenant: Tenant, user: User, policy_type: str, name: str | None) -> None:
    """Records a direct grant; reads follow after the knob."""
    assert user.teams is not None
    now = tenant.now()
    former = granted(tenant, user, policy_type)
    user.teams.grants[policy_type] = Grant(name, now + tenant.knobs.grant_effect_seconds, former)


def policy_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def group_policy(tenant: Tenant, user: User, policy_type: str) -> tuple[str, str] | None:
    """(policy name, group id) of the best-ranked group assignment."""
    ranked = [
        (tenant.groups[group_id].policies[policy_type], group_id)
        for group_id in user.groups
        if group_id in tenant.groups and policy_type in tenant.groups[group_id].policies
    ]
    if not ranked:
        return None
    (_, name), group_id = min(ranked)
    return name, group_id


def render_teams_user(tenant: Tenant, user: User) -> dict[str, Any]:
    """Property names in the service's own spelling."""
    known = user.teams_view.read(tenant.now())
    teams = user.teams if is_known(tenant, user) else None
    features = features_of(tenant, user) if teams is not None else []
    upn = str(known.get("userPrincipalName", user.upn))
    shown: dict[str, Any] = {
        "AccountEnabled": known.get("accountEnabled"),
        "AccountType": "User" if features else "IneligibleUser",
        "Alias": known.get("mailNickname"),
        "AssignedPlan": _plans(tenant, user) if teams is not None else [],
        "City": known.get("city"),
        "Company": known.get("companyName"),
        "Country": known.get("country"),
        "Department": known.get("department"),
        "DisplayName": known.get("displayName"),
        "EffectivePolicyAssignments": _effective(tenant, user) if teams is not None else [],
        "EnterpriseVoiceEnabled": teams.enterprise_voice if teams is not None else False,
        "FeatureTypes": features,
        "GivenName": known.get("givenName"),
        "HideFromAddressLists": False,
        "HostingProvider": "sipfed.online.lync.com" if features else None,
        "Identity": user.id,
        "InterpretedUserType": "PureOnlineTeamsOnlyUser" if features else "Unlicensed",
        "IsSipEnabled": bool(features),
        "LastName": known.get("surname"),
        "LineUri": teams.line_uri if teams is not None else None,
        "OnPremLineUri": teams.on_prem_line_uri if teams is not None else None,
        "SipAddress": f"sip:{upn}" if features else None,
        "SoftDeletionTimestamp": None,
        "TeamsUpgradeEffectiveMode": "TeamsOnly",
        "TelephoneNumbers": _numbers(tenant, user),
        "TenantId": tenant.id,
        "Title": known.get("jobTitle"),
        "UsageLocation": known.get("usageLocation"),
        "UserDirSyncEnabled": bool(user.props.get("onPremisesSyncEnabled")),
        "UserPrincipalName": upn,
        "UserValidationErrors": [],
        "WhenChanged": iso(tenant.now()),
        "WhenCreated": iso(user.created_at),
    }
    for policy_type in policy_types():
        name = granted(tenant, user, policy_type) if teams is not None else None
        shown[policy_type] = (
            None if name is None else {"Authority": "Tenant", "Name": name, "PolicyId": policy_id(name)}
        )
    return shown


def _plans(tenant: Tenant, user: User) -> list[dict[str, Any]]:
    now = tenant.now()
    return [
        {
            "Capability": tenant.plan_names.get(plan, plan),
            "CapabilityStatus": "Enabled",
            "AssignedTimestamp": iso(since),
        }
        for plan, since in user.plans.items()
        if user.plan_ready.get(plan, 0.0) <= now
    ]


def _numbers(tenant: Tenant, user: User) -> list[dict[str, Any]]:
    return [
        {"TelephoneNumber": number.number, "AssignmentCategory": number.category}
        for number in tenant.numbers_of(user.id)
    ]


def _effective(tenant: Tenant, user: User) -> list[dict[str, Any]]:
    found = []
    for policy_type in policy_types():
        name = granted(tenant, user, policy_type)
        group = group_policy(tenant, user, policy_type)
        if name is not None:
            found.append(_assignment(policy_type, name, "direct", None))
        elif group is not None:
            found.append(_assignment(policy_type, group[0], "group", group[1]))
    return found


def _assignment(policy_type: str, name: str, kind: str, group_id: str | None) -> dict[str, Any]:
    assignment = {"displayName": name, "assignmentType": kind, "policyId": policy_id(name), "groupId": group_id}
    return {"PolicyType": policy_type, "PolicyAssignment": assignment}
