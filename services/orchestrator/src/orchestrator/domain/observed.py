"""What is there: the tenant's licences and groups, the user as the adapter read them, and what we proved last time.

Owns reading the adapters' outputs into values the planner can compare. Refuses to invent: an attribute nobody read is
absent, not empty. Shapes: contract `user.observe` and `tenant.observe`; Microsoft's property names are kept.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mesh_runtime.values import lean_dataclass


@lean_dataclass(frozen=True, slots=True)
class Sku:
    """A licence the tenant has; `plans` maps service plan names to their ids."""

    sku_id: str
    part_number: str
    plans: Mapping[str, str] = field(default_factory=dict)


@lean_dataclass(frozen=True, slots=True)
class TenantFacts:
    """One tenant as last observed.

    `groups` maps a lower-case display name or id to the ids and names that answer to it: two of them is an ambiguity.
    `denied` maps an operation to the permissions the app registration lacks for it. `knows_all_groups` is false when
    the tenant has more groups than one read returns.
    """

    tenant_id: str
    skus: Mapping[str, Sku]  # by upper-case part number and by lower-case id
    groups: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    denied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    knows_all_groups: bool = True

    def sku(self, name: str) -> Sku | None:
        return self.skus.get(name.upper()) or self.skus.get(name.lower())

    def group(self, name: str) -> tuple[tuple[str, str], ...]:
        return self.groups.get(name.lower(), ())


@lean_dataclass(frozen=True, slots=True)
class ObservedUser:
    """The Entra user with the person's employee id; `attributes` holds only what the read returned."""

    user_id: str
    upn: str
    attributes: Mapping[str, Any]
    licences: Mapping[str, frozenset[str]]  # sku id -> ids of disabled service plans
    group_ids: frozenset[str]
    manager_id: str | None


_NOT_ATTRIBUTES = frozenset({"id", "userPrincipalName", "assignedLicenses", "manager_id", "group_ids", "employeeId"})


def observed_user(output: Mapping[str, Any]) -> ObservedUser | None:
    """The user in the output of `user.observe` or `user.get`, or None when there is none."""
    user = output.get("user")
    if not user:
        return None
    return ObservedUser(
        user_id=user["id"],
        upn=user["userPrincipalName"],
        attributes={name: value for name, value in user.items() if name not in _NOT_ATTRIBUTES},
        licences={
            str(licence["skuId"]).lower(): frozenset(str(plan).lower() for plan in licence.get("disabledPlans") or ())
            for licence in user.get("assignedLicenses") or ()
        },
        group_ids=frozenset(user.get("group_ids") or output.get("group_ids") or ()),
        manager_id=user.get("manager_id") or output.get("manager_id"),
    )


def taken_upns(output: Mapping[str, Any]) -> frozenset[str]:
    """Lower-case names that other users of the tenant have."""
    return frozenset(str(upn).lower() for upn in output.get("taken") or ())


@lean_dataclass(frozen=True, slots=True)
class Provisioned:
    """What the last successful plan proved, for everything the adapters' quick read does not return."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    licences: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mailbox: Mapping[str, Any] = field(default_factory=dict)
    cas_mailbox: Mapping[str, Any] = field(default_factory=dict)
    teams_policies: Mapping[str, str | None] = field(default_factory=dict)
    number: str | None = None


NOTHING_PROVISIONED = Provisioned()


def provisioned(desired: Mapping[str, Any] | None, number: str | None) -> Provisioned:
    """Read back the desired state that a successful plan stored (see `desired.as_json`)."""
    if not desired:
        return NOTHING_PROVISIONED
    return Provisioned(
        attributes=desired["attributes"],
        groups=desired["groups"],
        licences={licence["sku_id"]: frozenset(licence["disabled_plans"]) for licence in desired["licences"]},
        mailbox=desired["mailbox"],
        cas_mailbox=desired["cas_mailbox"],
        teams_policies=desired["teams_policies"],
        number=number,
    )
