"""How Teams learns of a user and what it forgets with a licence. Owns the delays and the effect of a lost plan on
numbers."""

from collections.abc import Sequence

from ucmesh_simulator.objects import Number, TeamsUser, User
from ucmesh_simulator.plans import feature_plans, plan_ids
from ucmesh_simulator.tenant import Tenant


def learn_teams_user(user: User) -> None:
    """A Teams plan makes the user known to Teams after the provisioning delay of its first plan."""
    plans = [plan for plan in feature_plans()["Teams"] | plan_ids("MCOSTANDARD") if plan in user.plans]
    if user.teams is None and plans:
        user.teams = TeamsUser(visible_at=min(user.plan_ready[plan] for plan in plans))
    if user.teams is not None and feature_plans()["PhoneSystem"] & user.plans.keys():
        user.teams.lost_phone = False


def lose_plans(tenant: Tenant, user: User, gone: Sequence[str]) -> None:
    """Numbers that need a lost plan are freed: Calling Plan numbers with the calling plan, all others with Phone
    System."""
    if user.teams is None:
        return
    features = feature_plans()
    lost_phone = bool(features["PhoneSystem"] & set(gone)) and not features["PhoneSystem"] & user.plans.keys()
    lost_calling = bool(features["CallingPlan"] & set(gone)) and not features["CallingPlan"] & user.plans.keys()
    for number in tenant.numbers_of(user.id):
        if number.number_type == "CallingPlan":
            if lost_calling or lost_phone:
                free_number(tenant, number, user)
                user.teams.line_uri = user.teams.on_prem_line_uri
        elif lost_phone:
            free_number(tenant, number, user)
    if lost_phone:
        user.teams.enterprise_voice = False
        user.teams.lost_phone = True


def free_number(tenant: Tenant, number: Number, user: User) -> None:
    """Takes a number from its holder, and with a primary number the voice setting."""
    primary = number.category in {None, "Primary"}
    tenant.drop_number(number)
    if user.teams is not None and primary:
        user.teams.line_uri = None
        user.teams.enterprise_voice = False
