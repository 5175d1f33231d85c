"""Our models against the contracts: every example is understood, every reply keeps the schema."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest

from graph_adapter import wire
from graph_adapter.domain import operation as ops
from graph_adapter.domain.operation import Outcome, Reply, Result, Undo
from mesh_messaging.event import CloudEvent
from support.graph_script import NOW, command

CONTRACTS = Path(__file__).parents[3] / "contracts"
READERS = {
    wire.EXECUTE: wire.command_of,
    wire.CREDENTIAL_DELIVERED: wire.delivery_of,
    wire.CREDENTIAL_ACTIVATED: wire.activation_of,
}
EXAMPLES = [path for kind in READERS for path in sorted((CONTRACTS / "examples" / kind).glob("*.json"))]

RESULTS: dict[str, Result] = {
    "changed": Result(Outcome.SUCCEEDED, True, {"user_id": "U1"}, Undo("user.delete", 1, {"user_id": "U1"})),
    "unchanged": Result(Outcome.SUCCEEDED, False, {}),
    "refused": ops.refused("no-seats", "None left.", remedy="Buy some.", detail={"sku": "x"}),
    "failed": ops.failed("throttled", "Too fast.", retryable=True),
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_examples_are_understood(path: Path) -> None:
    kind = path.parent.name
    event = CloudEvent("1", "/x", kind, NOW, None, None, path.read_bytes())
    found: Any = READERS[kind](event)
    if kind == wire.EXECUTE:
        data = json.loads(path.read_text())
        assert (str(found.operation_id), found.params) == (data["operation_id"], data["params"])


@pytest.mark.parametrize("plan_id", [None, UUID(int=5)])
@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())
def test_replies_keep_the_schema(result: Result, plan_id: UUID | None) -> None:
    schema = json.loads((CONTRACTS / "schemas" / f"{wire.COMPLETED}.json").read_text())
    reply = Reply(
        command("user.ensure", {}, plan_id=plan_id), result, 1, NOW, NOW + timedelta(milliseconds=1500), ("r",)
    )
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    validator.validate(json.loads(wire.completed_data(reply)))


def test_an_answer_too_large_for_a_message_fails_alone_and_keeps_its_undo() -> None:
    undo = Undo("user.delete", 1, {"user_id": "U1"})
    large = Result(Outcome.SUCCEEDED, True, {"groups": ["x" * 1000] * 1000}, undo)
    ready = wire.completed(Reply(command("user.get", {}), large, 1, NOW, NOW, ()))
    assert (ready.outcome, ready.error_code) == ("failed", "output-too-large")
    data = json.loads(ready.data)
    assert (data["output"], data["undo"]["operation"]) == ({}, "user.delete")
