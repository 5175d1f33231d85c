"""Builds a tenant from its seed. Owns the order (products before users, users before numbers) and refuses references to
what the seed does not hold."""

import base64
import hashlib
import uuid
from typing import Any

from ucmesh_simulator import facts
from ucmesh_simulator.directory.applications import make_key
from ucmesh_simulator.directory.errors import GraphError
from ucmesh_simulator.directory.groups import new_group
from ucmesh_simulator.directory.users import new_user
from ucmesh_simulator.licensing import LicenceChange, LicenceRefusedError, change_licences
from ucmesh_simulator.objects import Application, Grant, Number, Secret, Sku, User
from ucmesh_simulator.seed import ApplicationSpec, GroupSpec, NumberSpec, SkuSpec, TenantSpec, UserSpec
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.world import World

BORN_SECONDS_AGO = 400 * 24 * 3600.0
OUTSIDE = "outside"


class SeedError(ValueError):
    """The seed contradicts itself; the text says where."""


def build_tenant(world: World, spec: TenantSpec) -> Tenant:
    """A new tenant, not yet in the world. Raises SeedError."""
    tenant = Tenant(
        tenant_id=spec.tenant_id,
        display_name=spec.display_name,
        initial_domain=spec.initial_domain,
        seed=world.seed,
        clock=world.clock,
        knobs=world.knobs.patched(
            {"zero_latency": True}
        ),  # what the seed holds is settled; the real knobs come at the end
    )
    tenant.country, tenant.size = spec.country, spec.size
    tenant.created_at -= BORN_SECONDS_AGO
    tenant.domains |= dict.fromkeys(spec.domains, True) | dict.fromkeys(spec.federated_domains, False)
    for sku in spec.skus:
        _add_sku(tenant, sku)
    _add_plan_rules(tenant)
    _add_policies(tenant, spec)
    for group in spec.groups:
        _add_group(tenant, group)
    for number in spec.numbers:
        _add_numbers(tenant, number)
    for user in spec.users:
        _add_user(tenant, user)
    _connect(tenant, spec)
    for policy_type, name in spec.global_policies.items():
        if name.lower() not in tenant.policies.get(policy_type, {}):
            raise SeedError(f"there is no {policy_type} {name}")
        tenant.global_policies[policy_type] = name
    for application in spec.applications:
        tenant.add_application(_application(tenant, application))
    world.turn(spec.knobs, tenant.id)
    tenant.knobs = world.knobs_for(tenant.id)
    for user_spec in spec.users:
        if not user_spec.settled:
            _unsettle(tenant, tenant.users[tenant.user_id_by_upn[_upn(user_spec).lower()]])
    return tenant


def _add_sku(tenant: Tenant, spec: SkuSpec) -> None:
    known = facts.load("skus.json")
    product = known["skus"].get(spec.part_number)
    if spec.plans is None and product is None:
        raise SeedError(f"{spec.part_number} is not in the product list; give sku_id and plans")
    if spec.plans is not None:
        plans = tuple((plan.id, plan.name) for plan in spec.plans)
        tenant.plan_services |= {plan.id: plan.service for plan in spec.plans}
    else:
        plans = tuple((known["plans"][name]["id"], name) for name in product["plans"])
        tenant.plan_services |= {
            known["plans"][name]["id"]: known["plans"][name]["service"] for name in product["plans"]
        }
    sku_id = spec.sku_id or (product["id"] if product else None)
    if sku_id is None:
        raise SeedError(f"{spec.part_number}: sku_id is missing")
    tenant.plan_names |= dict(plans)
    tenant.skus[sku_id] = Sku(
        sku_id=sku_id,
        part_number=spec.part_number,
        enabled=spec.seats,
        warning=spec.warning,
        plans=plans,
        capability_status=spec.status,
        consumed=spec.assigned_elsewhere,
    )


def _add_plan_rules(tenant: Tenant) -> None:
    known = facts.load("skus.json")
    ids = {name: plan["id"] for name, plan in known["plans"].items()}
    tenant.exclusive_plans = [(ids[one], ids[other]) for one, other in known["mutually_exclusive"]]
    tenant.plan_needs = {ids[plan]: tuple(ids[need] for need in needs) for plan, needs in known["depends_on"].items()}


def _add_policies(tenant: Tenant, spec: TenantSpec) -> None:
    known: dict[str, Any] = facts.load("policies.json")["types"]
    long_ago = tenant.created_at
    for policy_type, entry in known.items():
        for name in ("Global", *entry["built_in"]):
            tenant.add_policy(policy_type, name, long_ago)
    for policy_type, names in spec.policies.items():
        if policy_type not in known:
            raise SeedError(f"there is no policy type {policy_type}; known: {', '.join(known)}")
        for name in names:
            tenant.add_policy(policy_type, name.removeprefix("Tag:"), long_ago)


def _add_group(tenant: Tenant, spec: GroupSpec) -> None:
    nickname = spec.mail_nickname or "".join(letter for letter in spec.display_name if letter.isalnum())[:64] or "group"
    types = {"microsoft365": ["Unified"], "dynamic": ["DynamicMembership"]}.get(spec.kind, [])
    props: dict[str, Any] = {
        "displayName": spec.display_name,
        "mailEnabled": spec.kind in {"microsoft365", "distribution"},
        "mailNickname": nickname,
        "securityEnabled": spec.kind != "distribution",
        "groupTypes": types,
    }
    if spec.synced:
        props["onPremisesSyncEnabled"] = True
    new_group(tenant, props, spec.id)


def _add_numbers(tenant: Tenant, spec: NumberSpec) -> None:
    first = int(spec.number or spec.first or 0)
    last = int(spec.number or spec.last or 0)
    for value in range(first, last + 1):
        number = f"+{value}"
        made = tenant.numbers[number] = Number(
            number=number,
            number_type=spec.type,
            location_id=spec.location_id,
            city=spec.city,
            country=spec.country or tenant.country,
        )
        if spec.assigned_to == OUTSIDE:
            tenant.hold_number(made, str(uuid.uuid5(uuid.NAMESPACE_URL, number)))


def _upn(spec: UserSpec) -> str:
    upn = spec.properties.get("userPrincipalName")
    if not isinstance(upn, str) or "@" not in upn:
        raise SeedError(f"a user needs a userPrincipalName, not {upn!r}")
    return upn


def _add_user(tenant: Tenant, spec: UserSpec) -> None:
    upn = _upn(spec)
    if upn.lower() in tenant.user_id_by_upn:
        raise SeedError(f"{upn} is in the seed twice")
    defaults = {"accountEnabled": True, "displayName": upn, "mailNickname": upn.partition("@")[0]}
    user = new_user(tenant, {**defaults, **spec.properties}, spec.id)
    if spec.licences:
        by_name = {sku.part_number: sku.sku_id for sku in tenant.skus.values()}
        try:
            wanted: dict[str, tuple[str, ...]] = {by_name.get(name, name): () for name in spec.licences}
            change_licences(tenant, user, LicenceChange(add=wanted, remove=()))
        except LicenceRefusedError as refused:
            raise SeedError(f"{upn}: {refused}") from refused
    if (spec.mailbox or spec.cas_mailbox) and user.mailbox is None:
        raise SeedError(f"{upn}: mailbox settings need a licence with Exchange")
    if user.mailbox is not None:
        user.mailbox.settings |= spec.mailbox
        user.mailbox.cas |= spec.cas_mailbox
    _add_voice(tenant, user, spec)


def _add_voice(tenant: Tenant, user: User, spec: UserSpec) -> None:
    if (spec.number or spec.policies) and user.teams is None:
        raise SeedError(f"{user.upn}: a number or a policy needs a licence with Teams")
    if user.teams is None:
        return
    for policy_type, name in spec.policies.items():
        if name.lower() not in tenant.policies.get(policy_type, {}):
            raise SeedError(f"{user.upn}: there is no {policy_type} {name}")
        user.teams.grants[policy_type] = Grant(name, effective_at=tenant.now())
    if spec.number is not None:
        _hand_over(tenant, spec.number, user)


def _hand_over(tenant: Tenant, number: str, user: User) -> None:
    held = tenant.numbers.get(number)
    if held is None or held.holder is not None or user.teams is None:
        raise SeedError(f"{user.upn}: {number} is not a free number of this tenant, or the user has no Teams licence")
    tenant.hold_number(held, user.id)
    user.teams.line_uri = f"tel:{number}"
    user.teams.enterprise_voice = True


def _connect(tenant: Tenant, spec: TenantSpec) -> None:
    by_name = {group.props["displayName"].lower(): group for group in tenant.groups.values()}
    for group_spec in spec.groups:
        for member in group_spec.members:
            _join(tenant, member, by_name[group_spec.display_name.lower()].id)
    for user_spec in spec.users:
        user = tenant.users[tenant.user_id_by_upn[_upn(user_spec).lower()]]
        for name in user_spec.groups:
            group = by_name.get(name.lower())
            if group is None:
                raise SeedError(f"{user.upn}: there is no group {name}")
            _join(tenant, user.upn, group.id)
        if user_spec.manager is not None:
            manager = tenant.find_user(user_spec.manager)
            if manager is None:
                raise SeedError(f"{user.upn}: there is no manager {user_spec.manager}")
            user.manager = manager.id
            manager.reports[user.id] = None
    for number_spec in spec.numbers:
        if number_spec.assigned_to not in {None, OUTSIDE}:
            holder = tenant.find_user(str(number_spec.assigned_to))
            if holder is None or number_spec.number is None:
                raise SeedError(f"assigned_to {number_spec.assigned_to} needs one number and a user of the seed")
            _hand_over(tenant, number_spec.number, holder)


def _join(tenant: Tenant, upn: str, group_id: str) -> None:
    user = tenant.find_user(upn)
    if user is None:
        raise SeedError(f"group member {upn} is not a user of the seed")
    tenant.groups[group_id].members[user.id] = None
    user.groups[group_id] = None


def _application(tenant: Tenant, spec: ApplicationSpec) -> Application:
    unknown = sorted(set(spec.directory_roles) - set(facts.load("roles.json")["roles"]))
    if unknown:
        raise SeedError(
            f"directory role {unknown[0]!r} is not known; known: {', '.join(facts.load('roles.json')['roles'])}"
        )
    now = tenant.clock.identity_now()
    application = Application(
        object_id=spec.object_id or tenant.new_id(),
        client_id=spec.client_id,
        service_principal_id=tenant.new_id(),
        display_name=spec.display_name,
        roles=frozenset(spec.roles),
        exchange_roles=frozenset(spec.exchange_roles),
        directory_roles=frozenset(spec.directory_roles),
        owners=frozenset(spec.owners if spec.owners is not None else [spec.client_id]),
        created_at=tenant.now(),
        enabled=spec.enabled,
    )
    for secret in spec.secrets:
        digest = hashlib.sha256(secret.value.encode()).digest()
        application.secrets.append(
            Secret(
                tenant.new_id(),
                digest,
                secret.display_name,
                secret.value[:3],
                now - 60,
                now + secret.expires_in_seconds,
            )
        )
    for certificate in spec.certificates:
        pem = certificate.certificate.strip()
        key = base64.b64encode(pem.encode()).decode() if pem.startswith("-----BEGIN") else "".join(pem.split())
        try:
            made = make_key(tenant, {"key": key, "displayName": certificate.display_name}, usable_at=tenant.created_at)
        except GraphError as refused:
            raise SeedError(f"application {spec.client_id}: {refused.message}") from refused
        if certificate.expires_in_seconds is not None:
            made.end = now + certificate.expires_in_seconds
        application.keys.append(made)
    return application


def _unsettle(tenant: Tenant, user: User) -> None:
    """Gives a seeded user the provisioning delays a fresh licence would have."""
    now = tenant.now()
    for plan in user.plans:
        user.plan_ready[plan] = now + tenant.spread(tenant.knobs.teams_provisioning_seconds)
    if user.teams is not None:
        user.teams.visible_at = now + tenant.spread(tenant.knobs.teams_provisioning_seconds)
    if user.mailbox is not None:
        user.mailbox.visible_at = now + tenant.spread(tenant.knobs.mailbox_provisioning_seconds)
