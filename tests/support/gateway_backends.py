"""One suite, both back ends: a gateway with the simulated host, and one with a real PowerShell and the stub modules.

Each runs for a whole module, against a tenant whose state can be asked.
"""

import base64
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from pwsh_gateway.adapters import shipped
from pwsh_gateway.adapters.hosts import backends
from pwsh_gateway.adapters.hosts.process import HostCommand
from support.gateway import Gateway, command, make_gateway
from support.session_hosts import MODULES, simulated_command
from support.simulated import Simulator, Tenant, install, make_certificate, pem_of, pfx_of, started, tenant_spec

KEY, CERTIFICATE = make_certificate("ucmesh")
NASTY = '\'; Remove-Mailbox * #\n$(Get-Process) `whoami` "quoted" \x1e{"id":"x","ok":true}\n 2020-01-01T00:00:00Z ünï ☎'
NASTY_LINE = NASTY.replace("\n", " ").replace("\x1e", " ").replace("*", "x")


def host_command(way: str, simulator: Simulator) -> HostCommand:
    variables = {"UCMESH_SIMULATOR_URL": simulator.base_url, "UCMESH_SIMULATOR_CA": str(simulator.ca_file)}
    if way == "simulated":
        return HostCommand(tuple(simulated_command()), variables)
    return backends.pwsh("pwsh", shipped.session_host(), module_path=str(MODULES), variables=variables)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with started(tmp_path_factory.mktemp("simulator")) as up:
        yield up


def spec(**changes: object) -> dict[str, Any]:
    made = tenant_spec(**changes)
    domain = made["domains"][0]
    made["applications"][0] |= {
        "certificates": [{"certificate": pem_of(CERTIFICATE)}],
        "exchange_roles": ["Exchange.ManageAsApp"],
        "directory_roles": ["Teams Administrator", "Exchange Administrator"],
    }
    made["skus"] = [{"part_number": "SPE_E5", "seats": 100}]
    made["policies"] = {"TenantDialPlan": ["Zurich"], "TeamsCallingPolicy": ["Sales", NASTY_LINE.strip()[:60]]}
    made["numbers"] = [
        {"first": "+41445551000", "last": "+41445551099", "type": "DirectRouting"},
        {"number": "+41445551900", "type": "DirectRouting", "assigned_to": "outside"},
    ]
    made["users"] = [
        {
            "properties": {"userPrincipalName": f"u{n}@{domain}", "displayName": f"User {n}", "usageLocation": "CH"},
            "licences": ["SPE_E5"] if n < 40 else [],
            "settled": True,
        }
        for n in range(42)
    ]
    return made


@pytest.fixture(scope="module", params=["simulated", pytest.param("pwsh", marks=pytest.mark.pwsh)])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tenant(simulator: Simulator, way: str) -> Tenant:
    return install(simulator, spec())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    postgres_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    simulator: Simulator,
    tenant: Tenant,
    way: str,
) -> AsyncIterator[Gateway]:
    """A running worker for the whole module, so that its warm sessions are used as they would be."""
    command_line = host_command(way, simulator)
    made = await make_gateway(postgres_url, command_line, tmp_path_factory.mktemp("gateway"), lease_seconds=15)
    await made.configure(retry_first_seconds=0.1)
    await give(made, tenant)
    async with made.running():
        yield made
    await made.db.close()


async def give(gateway: Gateway, tenant: Tenant, **changes: Any) -> uuid.UUID:
    return await gateway.give_credential(
        tenant.tenant_id,
        pfx=base64.b64encode(pfx_of(KEY, CERTIFICATE, "pw")).decode(),
        password="pw",
        client_id=tenant.client_id,
        organization=f"nw{tenant.tenant_id[:8]}.onmicrosoft.com",
        **changes,
    )


@pytest.fixture
def user(tenant: Tenant, request: pytest.FixtureRequest) -> str:
    """A licensed user that no other test touches."""
    counter = request.config.stash.setdefault(COUNTER, {})
    counter[tenant.tenant_id] = counter.get(tenant.tenant_id, -1) + 1
    return f"u{counter[tenant.tenant_id]}@{tenant.domain}"


COUNTER = pytest.StashKey[dict[str, int]]()


def of(tenant: Tenant, payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"tenant_id": tenant.tenant_id}


def teams_user(tenant: Tenant, upn: str) -> dict[str, Any]:
    """The user as the tenant knows it, without delays."""
    return next(found for found in tenant.state("teams_users") if found["userPrincipalName"] == upn)


async def do(gateway: Gateway, tenant: Tenant, *payloads: dict[str, Any], seconds: float = 30) -> list[dict[str, Any]]:
    return await gateway.do_all(*(of(tenant, payload) for payload in payloads), seconds=seconds)


async def one(gateway: Gateway, tenant: Tenant, operation: str, **params: Any) -> dict[str, Any]:
    target = params.get("identity", tenant.tenant_id)
    (reply,) = await do(gateway, tenant, command(operation, params=params, target=target))
    return reply


def numbers(user: str, number: str, number_type: str) -> dict[str, Any]:
    return {"identity": user, "telephone_number": number, "number_type": number_type}
