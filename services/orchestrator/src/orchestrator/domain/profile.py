"""Which site and which profile a person gets, by the customer's own rules.

    site     the one whose "move" filter matches: none -> site-unknown, two -> site-ambiguous
    profile  the first flow-through row whose filter matches: none -> profile-unknown

Owns the choice and the words of its refusals. Refuses to look at what a tenant holds: that is the planner's part.
"""

from collections.abc import Mapping

from mesh_runtime.values import lean_dataclass
from orchestrator.domain.customer import Customer, Profile, Site, Tenant
from orchestrator.domain.filters import CompiledFilter, compile_filter
from orchestrator.domain.ports import Refusal

SITE_UNKNOWN = "site-unknown"
SITE_AMBIGUOUS = "site-ambiguous"
PROFILE_UNKNOWN = "profile-unknown"
TENANT_UNKNOWN = "tenant-unknown"


@lean_dataclass(frozen=True, slots=True)
class Placement:
    """Where a person belongs and what they get."""

    site: Site
    profile: Profile
    tenant: Tenant


class Rulebook:
    """One version of a customer's rules with the filters compiled: made once, asked for every person."""

    def __init__(self, customer: Customer, version: int) -> None:
        self.version = version
        self.tenants: Mapping[str, Tenant] = {tenant.tenant_id: tenant for tenant in customer.tenants}
        profiles = {profile.profile: profile for profile in customer.profiles}
        compiled = {criteria.name: compile_filter(criteria) for criteria in customer.filters}
        self._moves: tuple[tuple[CompiledFilter, Site], ...] = tuple(
            (compiled[site.move], site) for site in customer.sites if site.move is not None
        )
        self._flow_through: tuple[tuple[CompiledFilter, Profile], ...] = tuple(
            (compiled[row.filter], profiles[row.profile]) for row in customer.flow_through
        )

    def place(self, attributes: Mapping[str, str]) -> Placement | Refusal:
        """The person's site, profile and tenant, or the refusal an admin can act on."""
        sites = [site for criteria, site in self._moves if criteria.matches(attributes)]
        if not sites:
            return self._no_site(attributes)
        if len(sites) > 1:
            return _two_sites(sites)
        site = sites[0]
        profile = next((profile for criteria, profile in self._flow_through if criteria.matches(attributes)), None)
        if profile is None:
            return self._no_profile(site, attributes)
        tenant = self.tenants.get(site.tenant_id)
        if tenant is None:
            return Refusal(
                TENANT_UNKNOWN,
                f"Site {site.site!r} belongs to tenant {site.tenant_id!r}, which this customer does not have.",
                "Add the tenant to the configuration or correct the site's tenant, apply it, then retry this plan.",
            )
        return Placement(site, profile, tenant)

    def _no_site(self, attributes: Mapping[str, str]) -> Refusal:
        names = ", ".join(site.site for _, site in self._moves) or "none"
        return Refusal(
            SITE_UNKNOWN,
            f"No site's move filter matches this person ({_shown(attributes, ('city', 'country', 'office'))}); "
            f"sites with a filter: {names}.",
            "Correct the person in HR and send the change, or extend a move filter, apply it and retry this plan.",
        )

    def _no_profile(self, site: Site, attributes: Mapping[str, str]) -> Refusal:
        return Refusal(
            PROFILE_UNKNOWN,
            f"The person belongs to site {site.site!r}, but no flow-through row matches "
            f"({_shown(attributes, ('department', 'job_title', 'company'))}).",
            "Add a flow-through row (or a last one that matches everybody), apply it and retry this plan.",
        )


def _two_sites(sites: list[Site]) -> Refusal:
    names = " and ".join(repr(site.site) for site in sites)
    return Refusal(
        SITE_AMBIGUOUS,
        f"The move filters of {names} all match this person; nobody is moved to two sites.",
        "Make the filters exclude each other, apply the configuration and retry this plan.",
    )


def _shown(attributes: Mapping[str, str], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {attributes.get(name, '')!r}" for name in names)
