"""The made-up office everybody joins: two like tenants, one customer's rules, and as many people as wanted.

Owns the shape of the work, so that both sides get the same: a joiner is looked for, created, put into GROUPS, licensed,
given a manager, and read back. The licence brings neither a mailbox nor Teams, so every step is a Graph step. Names and
ids come from a seed; the same seed gives the same people.
"""

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GROUPS = ("All Staff", "Building 4", "Newcomers")
SKU_ID = "4b590615-0888-425a-a965-b3bf7789848d"
SKU = "BENCH_DESK"
PLANS = (
    {"id": "41781fb2-bc02-4b7c-bd55-b576c07bb09d", "name": "AAD_PREMIUM", "service": "AADPremiumService"},
    {"id": "c1ec4a95-1f05-45b3-a911-aa3fa01094f5", "name": "INTUNE_A", "service": "SCO"},
)
ROLES = (
    "User.ReadWrite.All",
    "GroupMember.ReadWrite.All",
    "Group.Read.All",
    "LicenseAssignment.ReadWrite.All",
    "Organization.Read.All",
    "Directory.Read.All",
    "Application.ReadWrite.OwnedBy",
    "User.DeleteRestore.All",
)
SECRET = "only-for-the-benchmark"
BOSS = "B-1"

_ONSETS = ("b", "br", "d", "f", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p", "r", "s", "st", "t", "v", "w", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "au", "ei", "ie")
_CODAS = ("n", "r", "l", "s", "t", "m", "nd", "rk")
_TITLES = ("Account Executive", "Analyst", "Buyer", "Controller", "Engineer", "Planner")
_DEPARTMENTS = ("Engineering", "Finance", "Logistics", "Operations", "Sales")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One simulated tenant, and the customer of the same name; every id follows from its name."""

    name: str

    def _id(self, what: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{what}.{self.name}.example"))

    @property
    def tenant_id(self) -> str:
        return self._id("tenant")

    @property
    def client_id(self) -> str:
        return self._id("client")

    @property
    def object_id(self) -> str:
        return self._id("application")

    @property
    def domain(self) -> str:
        return f"{self.name}.example"

    @property
    def manager_id(self) -> str:
        """The user everybody reports to; there from the start."""
        return self._id("boss")

    def group_ids(self) -> list[str]:
        return [self._id(group) for group in GROUPS]

    def seed(self, seats: int) -> dict[str, Any]:
        """The simulator's tenant spec (simulator/README.md)."""
        return {
            "tenant_id": self.tenant_id,
            "display_name": self.name.title(),
            "initial_domain": f"{self.name}.onmicrosoft.com",
            "domains": [self.domain],
            "country": "CH",
            "size": "L",
            "skus": [{"part_number": SKU, "sku_id": SKU_ID, "plans": list(PLANS), "seats": seats}],
            "groups": [
                {"display_name": name, "id": group_id} for name, group_id in zip(GROUPS, self.group_ids(), strict=True)
            ],
            "users": [{"id": self.manager_id, "properties": self._boss()}],
            "applications": [
                {
                    "client_id": self.client_id,
                    "object_id": self.object_id,
                    "secrets": [{"value": SECRET, "expires_in_seconds": 86400}],
                    "roles": list(ROLES),
                }
            ],
        }

    def _boss(self) -> dict[str, Any]:
        return {
            "userPrincipalName": f"boss@{self.domain}",
            "displayName": "The Boss",
            "usageLocation": "CH",
            "employeeId": BOSS,
            "accountEnabled": True,
        }


MESH_TENANT = Tenant("mesh-bench")
RIVAL_TENANT = Tenant("rival-bench")


def simulated(seats: int, tenants: Sequence[Tenant]) -> dict[str, Any]:
    """Tenants that answer at once and without limits."""
    return {"knobs": {"zero_latency": True}, "tenants": [tenant.seed(seats) for tenant in tenants]}


def customer_document(tenant: Tenant) -> dict[str, Any]:
    """PUT /customers/NAME: one site, one profile, everybody is alike."""
    everybody = {"attribute": "employee_id", "condition": "regex", "value": "."}
    return {
        "customer": tenant.name,
        "name": "Bench",
        "tenants": [
            {
                "tenant_id": tenant.tenant_id,
                "name": "Bench",
                "organization": f"{tenant.name}.onmicrosoft.com",
                "domain": tenant.domain,
                "application": {
                    "client_id": tenant.client_id,
                    "object_id": tenant.object_id,
                    "bootstrap_secret": {"value": SECRET},
                },
            }
        ],
        "sites": [
            {
                "site": "zurich",
                "name": "Zürich",
                "country": "CH",
                "usage_location": "CH",
                "time_zone": "Europe/Zurich",
                "language": "de-CH",
                "tenant": tenant.tenant_id,
                "move": "here",
            }
        ],
        "filters": [
            {"filter": "here", "usage": "move", "rows": [everybody]},
            {"filter": "everybody", "usage": "flow-through", "rows": [everybody]},
        ],
        "profiles": [
            {
                "profile": "desk",
                "upn": "{given}.{surname}",
                "licences": [{"sku": SKU}],
                "groups": list(GROUPS),
                "manager": "wait",
            }
        ],
        "flow_through": [{"filter": "everybody", "profile": "desk"}],
    }


def people(seed: int, kind: str, count: int) -> list[dict[str, Any]]:
    """`count` HR facts; `kind` keeps the employee ids of several groups apart. No two have the same name."""
    draw = random.Random(f"{seed}-{kind}")
    names = _names(draw)
    return [_person(draw, f"{kind}-{n + 1:06d}", *next(names)) for n in range(count)]


def boss() -> dict[str, Any]:
    """HR's fact of the manager, whose user the mesh adopts."""
    return {"employee_id": BOSS, "person": {"given_name": "The", "surname": "Boss", "country": "CH"}}


def hr_event(person: Mapping[str, Any], tenant: Tenant) -> dict[str, Any]:
    """The structured CloudEvent HR sends."""
    return {
        "specversion": "1.0",
        "id": f"{tenant.name}-{person['employee_id']}-1",
        "source": f"/hr/{tenant.name}",
        "type": "ucmesh.hr.person.v1.joined",
        "subject": person["employee_id"],
        "datacontenttype": "application/json",
        "data": {"customer": tenant.name, "sequence": 1, **person},
    }


def _person(draw: random.Random, employee_id: str, given: str, surname: str) -> dict[str, Any]:
    return {
        "employee_id": employee_id,
        "person": {
            "given_name": given,
            "surname": surname,
            "job_title": draw.choice(_TITLES),
            "department": draw.choice(_DEPARTMENTS),
            "company": "Bench",
            "office": f"{draw.randint(1, 9)}.{draw.randint(10, 99)}",
            "city": "Zürich",
            "country": "CH",
            "manager_employee_id": BOSS,
        },
    }


def _names(draw: random.Random) -> Iterator[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    while True:
        name = (_word(draw, 2), _word(draw, 3))
        if name not in seen:
            seen.add(name)
            yield name


def _word(draw: random.Random, syllables: int) -> str:
    return "".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) for _ in range(syllables)).title() + draw.choice(_CODAS)
