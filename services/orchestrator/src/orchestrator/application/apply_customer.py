"""Apply a customer's configuration: check it, keep what changed row by row, register new tenants.

Applying the same document again changes nothing. A tenant is registered when it is new, when its app registration
changed, or when its last registration failed: cert-manager gets the command, with the bootstrap secret sealed for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh_runtime.errors import Conflict, InvalidInput
from orchestrator.application.rules import Rules
from orchestrator.domain.configuration import Change, Rows, TenantRow, changes
from orchestrator.domain.customer import Customer, Fault, Tenant, faults
from orchestrator.domain.stores import CredentialOrder

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

NUMBER_KINDS = frozenset({"numbers"})


class FaultyConfiguration(InvalidInput):
    """The parts of the document do not fit together; `faults` has every place."""

    code = "configuration-invalid"

    def __init__(self, found: Sequence[Fault]) -> None:
        super().__init__(f"{len(found)} parts of the configuration do not fit together; the first: {found[0].message}")
        self.faults = tuple(found)


@dataclass(frozen=True, slots=True)
class Applied:
    """What happened. `registering` are the tenants whose registration was asked for now."""

    customer: str
    version: int
    changes: tuple[Change, ...]
    tenants: tuple[TenantRow, ...]
    registering: frozenset[str]


async def apply_customer(
    rules: Rules,
    tx: "AsyncConnection",
    customer: Customer,
    rows: Rows,
    *,
    sealed_secrets: Mapping[str, str],
    actor: str,
) -> Applied:
    """Raises FaultyConfiguration, and Conflict for a tenant that is another customer's or is still in use."""
    found = faults(customer)
    if found:
        raise FaultyConfiguration(found)
    now = rules.clock.now()
    stored = await rules.configurations.lock(tx, customer.customer, actor=actor, now=now)
    changed = changes(stored.rows, rows)
    is_new_version = bool(changed) or stored.name != customer.name or stored.version == 0
    version = stored.version + 1 if is_new_version else stored.version
    if is_new_version:
        await rules.configurations.save(tx, customer.customer, customer.name, version, changed, actor=actor, now=now)
    known = {row.tenant_id: row for row in await rules.inventory.tenants(tx, customer.customer)}
    await _refuse_foreign(rules, tx, customer)
    await _remove_tenants(rules, tx, customer, known)
    registering = [
        tenant
        for tenant in customer.tenants
        if _must_register(tenant, known.get(tenant.tenant_id), has_secret=tenant.tenant_id in sealed_secrets)
    ]
    await rules.inventory.save_tenants(
        tx, customer.customer, customer.tenants, {tenant.tenant_id for tenant in registering}, now
    )
    if any(change.kind in NUMBER_KINDS for change in changed):
        await rules.ledgers.lock(tx, sorted(tenant.tenant_id for tenant in customer.tenants))
        await rules.inventory.sync_numbers(tx, customer.customer, customer.numbers, now)
    await rules.commands.ensure_credentials(tx, [_order(t, customer.customer, sealed_secrets) for t in registering])
    if changed:
        await rules.tenants.observe_soon(tx, {tenant.tenant_id for tenant in customer.tenants}, now)
    tenants = await rules.inventory.tenants(tx, customer.customer)
    return Applied(
        customer.customer, version, tuple(changed), tuple(tenants), frozenset(t.tenant_id for t in registering)
    )


def _must_register(tenant: Tenant, known: TenantRow | None, *, has_secret: bool) -> bool:
    """A tenant still registering is asked for again only with a secret: it may have been forgotten the first time."""
    if known is None or known.state == "failed" or (known.state == "registering" and has_secret):
        return True
    return (tenant.organization, tenant.client_id, tenant.application_object_id, tenant.cloud) != (
        known.organization,
        known.client_id,
        known.application_object_id,
        known.cloud,
    )


async def _refuse_foreign(rules: Rules, tx: "AsyncConnection", customer: Customer) -> None:
    owners = await rules.inventory.owners(tx, [tenant.tenant_id for tenant in customer.tenants])
    for tenant_id, owner in owners.items():
        if owner != customer.customer:
            raise Conflict(
                f"tenant {tenant_id} belongs to another customer",
                code="tenant-taken",
                remedy="A tenant can be managed for one customer only; remove it there first.",
            )


async def _remove_tenants(
    rules: Rules, tx: "AsyncConnection", customer: Customer, known: Mapping[str, TenantRow]
) -> None:
    gone = sorted(known.keys() - {tenant.tenant_id for tenant in customer.tenants})
    in_use = await rules.inventory.tenants_in_use(tx, gone)
    if in_use:
        raise Conflict(
            f"tenant {in_use[0]} still has people of this customer",
            code="tenant-in-use",
            remedy="Keep the tenant in the document until its people have left.",
        )
    await rules.inventory.remove_tenants(tx, gone)


def _order(tenant: Tenant, customer: str, sealed_secrets: Mapping[str, str]) -> CredentialOrder:
    return CredentialOrder(
        tenant_id=tenant.tenant_id,
        customer=customer,
        organization=tenant.organization,
        client_id=tenant.client_id,
        application_object_id=tenant.application_object_id,
        cloud=tenant.cloud,
        sealed_secret=sealed_secrets.get(tenant.tenant_id),
    )
