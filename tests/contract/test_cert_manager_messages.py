"""cert-manager reads every example of what it consumes, and what it publishes keeps the schemas."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import generate
import jsonschema_rs
import pytest

from cert_manager.domain.credential import Credential, Kind, Registration, State, Workload
from cert_manager.domain.ports import Outgoing
from cert_manager.wire import Completed, EnsureCommand, Messages
from mesh_runtime.clock import ManualClock, Uuid7Ids

EXAMPLES = Path(generate.__file__).parent / "examples"
SCHEMAS = generate.load_schemas()
NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
REGISTRATION = Registration(
    tenant_id=TENANT,
    customer="northwind",
    organization="northwind.onmicrosoft.com",
    client_id="3f0c1c1e-7a58-4d38-8a1b-6d0f2f3a4b5c",
    application_object_id="b7d9a0e2-9c1d-4a7b-8c56-1d2e3f405162",
    cloud="commercial",
    key_bits=2048,
    validity_days=365,
    has_bootstrap_secret=True,
)
CREDENTIAL = Credential(
    credential_id=UUID(int=1),
    tenant_id=TENANT,
    client_id=REGISTRATION.client_id,
    kind=Kind.CERTIFICATE,
    state=State.DELIVERED,
    thumbprint="AB" * 20,
    not_before=NOW,
    not_after=NOW + timedelta(days=365),
    created_at=NOW,
)


def examples(kind: str) -> list[Path]:
    return sorted((EXAMPLES / kind).glob("*.json"))


@pytest.mark.parametrize("path", examples("ucmesh.certs.credential.v1.ensure"), ids=lambda path: path.stem)
def test_ensure_is_read(path: Path) -> None:
    data = json.loads(path.read_text("utf-8"))
    request = EnsureCommand.model_validate(data).to_request()
    assert request.registration.tenant_id == data["tenant_id"]
    assert request.registration.has_bootstrap_secret == (data["bootstrap_secret"] is not None)


@pytest.mark.parametrize(
    "path",
    [*examples("ucmesh.graph.operation.v1.completed"), *examples("ucmesh.pwsh.operation.v1.completed")],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_answers_are_read(path: Path) -> None:
    data = json.loads(path.read_text("utf-8"))
    answer = Completed.model_validate(data).to_answer()
    assert answer.outcome == data["outcome"]
    assert answer.code == (data["error"] or {}).get("code")


SAID = {
    "register": Outgoing("register", TENANT, credential=CREDENTIAL, registration=REGISTRATION, certificate_der=b"x"),
    **{
        f"probe {workload}": Outgoing(
            "probe", TENANT, credential=CREDENTIAL, workload=workload, registration=REGISTRATION
        )
        for workload in Workload
    },
    "delivered": Outgoing(
        "delivered", TENANT, credential=CREDENTIAL, registration=REGISTRATION, sealed={"graph-adapter": "jwe"}
    ),
    "activated": Outgoing("activated", TENANT, credential=CREDENTIAL, registration=REGISTRATION),
    "failed": Outgoing(
        "failed", TENANT, credential=CREDENTIAL, registration=REGISTRATION, code="c", message="m", remedy=None
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_keeps_its_schema_and_travels_where_the_catalogue_says(name: str) -> None:
    outgoing = replace(SAID[name], operation_id=UUID(int=7))
    message = Messages(clock=ManualClock(NOW), ids=Uuid7Ids()).outbound(outgoing)
    jsonschema_rs.validator_for(SCHEMAS[message.event.type], validate_formats=True).validate(message.event.json())
    topics = {
        topic["topic"]
        for topic in generate.load_topics()
        if any(each["type"] == message.event.type for each in topic["messages"])
    }
    assert message.topic in topics
    assert message.event.tenant == TENANT
