"""Licences: seats, service plans and what follows from them in Exchange and Teams. Owns the assign rules and their
order; speaks in LicenceRefusedError, which each face words itself.

    assign ─► seats ─► plans ─┬─► mailbox appears after mailbox_provisioning_seconds
                              └─► Teams user and features appear after teams_provisioning_seconds
    remove ─► seat free ─► phone numbers freed (numbers.py) ─► mailbox disconnected
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ucmesh_simulator.exchange.provisioning import disconnect_mailbox, provision_mailbox
from ucmesh_simulator.objects import Licence, Sku, User
from ucmesh_simulator.teams.provisioning import learn_teams_user, lose_plans
from ucmesh_simulator.tenant import Tenant

ASSIGNABLE = frozenset({"Enabled", "Warning"})
SHOWN_KEPT_MAX = 1000


class LicenceRefusedError(Exception):
    """The change is not made; the text is Graph's own."""


@dataclass(frozen=True, slots=True)
class LicenceChange:
    add: Mapping[str, tuple[str, ...]]  # sku id -> disabled plans
    remove: Sequence[str]


def change_licences(tenant: Tenant, user: User, change: LicenceChange) -> bool:
    """All or nothing; True when something changed. Raises LicenceRefusedError."""
    if change.add and not user.props.get("usageLocation"):
        raise LicenceRefusedError("License assignment cannot be done for user with invalid usage location.")
    after = dict(user.licences)
    for sku_id in change.remove:
        if sku_id not in user.licences:
            raise LicenceRefusedError("User does not have a corresponding license.")
        del after[sku_id]
    now = tenant.now()
    for sku_id, disabled in change.add.items():
        sku = _sku(tenant, sku_id)
        _check_plans_of(sku, disabled)
        held = user.licences.get(sku_id)
        if held is not None and held.disabled_plans == disabled and sku_id in after:
            continue
        if held is None and sku.free <= 0:
            raise LicenceRefusedError(f"Subscription with SKU {sku_id} does not have any available licenses.")
        after[sku_id] = Licence(sku_id, disabled, now)
    plans = _plans_of(tenant, after)
    _check_plans(tenant, plans)
    changed = after != user.licences
    _count(tenant, user, after)
    user.licences = after
    _apply_plans(tenant, user, plans)
    return changed


def release_all(tenant: Tenant, user: User) -> None:
    """Takes every licence away, as a delete does."""
    if user.licences:
        change_licences(tenant, user, LicenceChange(add={}, remove=list(user.licences)))


def consumed_shown(tenant: Tenant, sku: Sku) -> int:
    """consumedUnits as subscribedSkus shows it, behind the real count by the knob."""
    now = tenant.now()
    while len(sku.shown) > 1 and sku.shown[1][0] <= now:
        sku.shown.popleft()
    if not sku.shown:
        return sku.consumed
    return sku.shown[0][1] if sku.shown[0][0] <= now else sku.consumed


def _sku(tenant: Tenant, sku_id: str) -> Sku:
    sku = tenant.skus.get(sku_id)
    if sku is None or sku.capability_status not in ASSIGNABLE:
        raise LicenceRefusedError(f"License {sku_id} does not correspond to a valid company License.")
    return sku


def _check_plans_of(sku: Sku, disabled: Sequence[str]) -> None:
    known = {plan for plan, _ in sku.plans}
    for plan in disabled:
        if plan not in known:
            raise LicenceRefusedError(
                f"License assignment failed because service plan {plan} is not part of the subscription {sku.sku_id}."
            )


def _plans_of(tenant: Tenant, licences: Mapping[str, Licence]) -> list[str]:
    plans: dict[str, None] = {}
    for licence in licences.values():
        for plan, _ in tenant.skus[licence.sku_id].plans:
            if plan not in licence.disabled_plans:
                plans[plan] = None
    return list(plans)


def _check_plans(tenant: Tenant, plans: Sequence[str]) -> None:
    active = set(plans)
    for one, other in tenant.exclusive_plans:
        if one in active and other in active:
            raise LicenceRefusedError(
                f"License assignment failed because service plans {one}, {other} are mutually exclusive."
            )
    for plan in plans:
        needs = [need for need in tenant.plan_needs.get(plan, ()) if need not in active]
        if needs:
            listed = ", ".join(needs)
            raise LicenceRefusedError(
                f"License assignment failed because service plan {plan} depends on the service plan(s) {listed}."
            )


def _count(tenant: Tenant, user: User, after: Mapping[str, Licence]) -> None:
    now, lag = tenant.now(), tenant.knobs.units_lag_seconds
    for sku_id in user.licences.keys() ^ after.keys():
        sku = tenant.skus[sku_id]
        count = tenant.effects.given if sku_id in after else tenant.effects.taken
        count(user, "licence", sku.part_number)
        if lag and not sku.shown:
            sku.shown.append((now, sku.consumed))
        sku.consumed += 1 if sku_id in after else -1
        if lag:
            sku.shown.append((now + lag, sku.consumed))
            if len(sku.shown) > SHOWN_KEPT_MAX:
                sku.shown.popleft()
        else:
            sku.shown.clear()


def _apply_plans(tenant: Tenant, user: User, plans: Sequence[str]) -> None:
    now = tenant.now()
    active = set(plans)
    gone = [plan for plan in user.plans if plan not in active]
    for plan in gone:
        del user.plans[plan]
        user.plan_ready.pop(plan, None)
    for plan in plans:
        if plan not in user.plans:
            user.plans[plan] = now
            user.plan_ready[plan] = now + tenant.spread(tenant.knobs.teams_provisioning_seconds)
    provision_mailbox(tenant, user)
    learn_teams_user(user)
    if gone:
        lose_plans(tenant, user, gone)
        disconnect_mailbox(tenant, user)
