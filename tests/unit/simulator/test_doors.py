"""Every door with input nobody meant: the Graph operations and the cmdlets answer with an error of their own, never
with a crash."""

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ucmesh_simulator.directory.messages import GraphRequest
from ucmesh_simulator.directory.routes import ROUTES, Route
from ucmesh_simulator.directory.service import GraphService
from ucmesh_simulator.identity.signing import Caller
from ucmesh_simulator.powershell.call import CmdletCall
from ucmesh_simulator.powershell.cmdlets import BY_MODULE
from ucmesh_simulator.powershell.errors import CmdletError
from ucmesh_simulator.seed import TenantSpec
from ucmesh_simulator.tenant import Tenant
from ucmesh_simulator.tenant_builder import build_tenant
from ucmesh_simulator.world import World

CLIENT = str(uuid.UUID(int=9))
WORLD = World()
NAMES = [
    "displayName",
    "userPrincipalName",
    "passwordProfile",
    "mailNickname",
    "usageLocation",
    "accountEnabled",
    "addLicenses",
    "removeLicenses",
    "keyCredentials",
    "keyCredential",
    "proof",
    "keyId",
    "@odata.id",
    "members@odata.bind",
    "groupTypes",
    "businessPhones",
    "mailEnabled",
    "securityEnabled",
    "requests",
    "employeeId",
    "passwordCredentials",
]
PARAMETERS = [
    "Identity",
    "TelephoneNumber",
    "NumberType",
    "PolicyName",
    "Group",
    "Rank",
    "Filter",
    "ResultSize",
    "EmailAddresses",
    "Type",
    "MaxSendSize",
    "ForwardingAddress",
    "EnterpriseVoiceEnabled",
    "Top",
    "Skip",
    "Properties",
    "LocationId",
    "AssignmentBlockedDays",
    "WindowsEmailAddress",
    "PropertySets",
    "RecipientTypeDetails",
    "AssignmentCategory",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=8,
)
BODIES = st.none() | JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)
QUERIES = st.dictionaries(
    st.sampled_from(["$select", "$filter", "$top", "$skiptoken", "$expand", "$count", "$orderby", "$search"]),
    st.text(max_size=20),
    max_size=3,
)
LOOSE = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tenant() -> Tenant:
    domain = "northwind.example"
    spec = TenantSpec.model_validate(
        {
            "tenant_id": str(uuid.UUID(int=1)),
            "display_name": "Northwind",
            "initial_domain": "northwind.onmicrosoft.com",
            "domains": [domain],
            "skus": [{"part_number": "SPE_E5", "seats": 5}],
            "groups": [{"display_name": "All staff", "id": str(uuid.UUID(int=2))}],
            "users": [
                {
                    "properties": {"userPrincipalName": f"boss@{domain}", "usageLocation": "CH", "displayName": "Boss"},
                    "licences": ["SPE_E5"],
                    "id": str(uuid.UUID(int=3)),
                }
            ],
            "numbers": [{"number": "+41445551000", "type": "DirectRouting"}],
            "applications": [{"client_id": CLIENT, "object_id": str(uuid.UUID(int=4))}],
            "knobs": {"zero_latency": True},
        }
    )
    return build_tenant(WORLD, spec)


def caller() -> Caller:
    roles = {"User.ReadWrite.All", "Directory.ReadWrite.All", "Group.ReadWrite.All", "Application.ReadWrite.All"}
    return Caller(str(uuid.UUID(int=1)), CLIENT, "graph", frozenset(roles), frozenset(), 2e10)


IDS = {"users": 3, "groups": 2, "applications": 4}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} /{'/'.join(route.shape)}")
@LOOSE
@given(body=BODIES, query=QUERIES)
def test_no_body_breaks_a_graph_operation(route: Route, body: Any, query: dict[str, str]) -> None:
    held = tenant()
    segments = [str(uuid.UUID(int=IDS.get(route.shape[0], 3))) if piece == "*" else piece for piece in route.shape]
    request = GraphRequest(
        method=route.method,
        path="/" + "/".join(segments),
        segments=segments,
        query=query,
        headers={},
        body=body,
        tenant=held,
        caller=caller(),
        application=held.application_of_client(CLIENT),
        request_id="r",
        client_request_id=None,
        origin="https://localhost",
    )

    answer = GraphService(WORLD).answer(request)

    assert 200 <= answer.reply.status < 500


@pytest.mark.parametrize(
    ("name", "rule"),
    [found for table in BY_MODULE.values() for found in table.values()],
    ids=lambda value: getattr(value, "__name__", value),
)
@LOOSE
@given(parameters=st.dictionaries(st.sampled_from(PARAMETERS), JSON | st.just("boss@northwind.example"), max_size=5))
def test_no_parameter_breaks_a_cmdlet(name: str, rule: Callable[[CmdletCall], Any], parameters: dict[str, Any]) -> None:
    with contextlib.suppress(CmdletError):
        rule(CmdletCall(tenant(), caller(), name, parameters, "r"))
