"""Our payloads against the contracts: examples are understood, what we say fits the schema."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from pwsh_gateway import wire
from pwsh_gateway.domain.operations import Problem, Reply, Undo, Verdict, failed, refused
from pwsh_gateway.domain.sessions import SessionEvent

CONTRACTS = Path(__file__).resolve().parents[3] / "contracts"
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
TENANT = "8d2f6c1e-3b7a-4c55-9f1e-2a6d0c4b7e11"
CONSUMED = {
    wire.EXECUTE: wire.ExecutePayload,
    wire.DELIVERED: wire.DeliveredPayload,
    wire.ACTIVATED: wire.ActivatedPayload,
    wire.FAILED: wire.FailedPayload,
}


def examples() -> list[tuple[str, Path]]:
    return [(name, path) for name in CONSUMED for path in sorted((CONTRACTS / "examples" / name).glob("*.json"))]


@pytest.mark.parametrize(("name", "path"), examples(), ids=lambda value: getattr(value, "stem", value))
def test_every_example_of_what_we_consume_is_understood(name: str, path: Path) -> None:
    CONSUMED[name].model_validate_json(path.read_bytes())


def check(name: str, payload: dict[str, Any]) -> None:
    schema = json.loads((CONTRACTS / "schemas" / f"{name}.json").read_text())
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(payload)


VERDICTS = [
    Verdict("succeeded"),
    Verdict("succeeded", changed=True, output={"former": None}, undo=Undo("teams.policy.grant", 1, {"identity": "x"})),
    refused("number-taken", "taken", remedy="free it", detail={"fqid": "BadRequest"}),
    failed("timeout", "late", retryable=True),
    Verdict("failed", problem=Problem("cmdlet-error", "no")),
]


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: verdict.outcome)
@pytest.mark.parametrize("plan_id", [None, uuid.UUID(int=7)])
def test_every_reply_fits_the_contract(verdict: Verdict, plan_id: uuid.UUID | None) -> None:
    reply = Reply(
        uuid.UUID(int=1), plan_id, "teams.user.get", 1, TENANT, "ucmesh.orchestrator.replies.v1", verdict, 1, NOW, NOW,
        ("5b1f0f51-6f1c-4a53-9a43-7f9b1c9d2a10",),
    )  # fmt: skip
    check(wire.COMPLETED, wire.completed_payload(reply))


@pytest.mark.parametrize("action", ["started", "ended"])
def test_session_events_fit_the_contract(action: Any) -> None:
    event = SessionEvent(action, uuid.UUID(int=1), TENANT, "MicrosoftTeams", None, 3, NOW)
    check(f"{wire.SESSION}.{action}", wire.session_payload(event))


FULL: dict[str, Any] = json.loads((CONTRACTS / "examples" / wire.EXECUTE / "full.json").read_text())


def test_a_command_in_our_words() -> None:
    command = wire.ExecutePayload.model_validate(FULL | {"tenant_id": TENANT.upper()}).command("00-trace")
    assert command.tenant_id == TENANT
    assert command.deadline == datetime(2026, 11, 25, 9, tzinfo=UTC)
    assert (command.lane, command.credential, command.traceparent) == ("urgent", "active", "00-trace")


@pytest.mark.parametrize(
    "broken",
    [
        {"operation_id": "x"},
        {"operation": "Get-CsOnlineUser"},
        {"operation": "teams.user.get; Get-Date"},
        {"version": 0},
        {"tenant_id": "contoso.com"},
        {"target": ""},
        {"params": []},
        {"deadline": "2026-11-25T09:00:00"},
        {"deadline": "soon"},
        {"reply_to": "ucmesh.hr.lifecycle.v1"},
        {"lane": "vip"},
    ],
)
def test_a_command_that_cannot_be_understood(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        wire.ExecutePayload.model_validate(FULL | broken)
