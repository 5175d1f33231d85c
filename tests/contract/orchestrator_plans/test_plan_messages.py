"""What the plan engine puts on the wire keeps the contract, and it reads every example of a reply."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import generate
import jsonschema_rs
import pytest

from mesh_messaging.envelope import CloudEvent
from mesh_runtime.errors import InvalidInput
from orchestrator.domain.plan import PlanState, Reason
from orchestrator.domain.plan_ports import Command, Notice
from orchestrator.domain.plan_status import Dispatch
from orchestrator.wire_plans import COMPLETED_TYPES, from_completed, to_command, to_plan_event
from support.plan_script import START, new_plan

EXAMPLES = Path(__file__).parents[3] / "contracts" / "examples"
SCHEMAS = generate.load_schemas()
TOPICS = {topic["topic"]: {message["type"] for message in topic["messages"]} for topic in generate.load_topics()}
ENDS = ("created", "succeeded", "refused", "compensated", "held", "cancelled")


def check(event: CloudEvent, topic: str) -> dict[str, Any]:
    data = json.loads(event.data)
    jsonschema_rs.validator_for(SCHEMAS[event.type], validate_formats=True).validate(data)
    assert event.type in TOPICS[topic]
    return data


@pytest.mark.parametrize("target", ["graph", "pwsh"])
def test_commands_keep_the_contract(target: Any) -> None:
    dispatch = Dispatch(UUID(int=5), UUID(int=6), target, "user.ensure", 1, {"user": "zoe"}, "zoe@x.example", START)
    message = to_command(Command(new_plan(), dispatch), UUID(int=7), START)
    data = check(message.event, message.topic)
    assert message.key == f"{data['tenant_id']}:{data['target']}"


@pytest.mark.parametrize("action", ENDS)
def test_plan_events_keep_the_contract(action: Any) -> None:
    state = PlanState.OBSERVING if action == "created" else PlanState(action)
    reason = None if action in ("created", "succeeded") else Reason("no-seats", "", None)
    for plan in (new_plan(state=state), new_plan(state=state, tenant_id="")):
        message = to_plan_event(Notice(plan, action, reason, 3, 2, 1), UUID(int=7), START)
        data = check(message.event, message.topic)
        assert message.key == data["plan_id"]


@pytest.mark.parametrize(
    "path", [path for kind in COMPLETED_TYPES for path in (EXAMPLES / kind).glob("*.json")], ids=lambda p: p.stem
)
def test_examples_of_replies_are_read(path: Path) -> None:
    data = json.loads(path.read_text("utf-8"))
    event = CloudEvent("1", "/graph-adapter", path.parent.name, START, None, None, path.read_bytes())
    reply = from_completed(event)
    assert str(reply.operation_id) == data["operation_id"]
    assert reply.outcome == data["outcome"]
    assert (reply.undo is None) == (data.get("undo") is None)


@pytest.mark.parametrize("field", ["operation_id", "outcome", "tenant_id", "changed"])
def test_a_reply_without_a_needed_field_is_refused_by_its_name(field: str) -> None:
    text = (EXAMPLES / COMPLETED_TYPES[0] / "full.json").read_text("utf-8")
    data = {key: value for key, value in json.loads(text).items() if key != field}
    event = CloudEvent("1", "/x", COMPLETED_TYPES[0], START, None, None, json.dumps(data).encode())
    with pytest.raises(InvalidInput, match=field):
        from_completed(event)
    with pytest.raises(InvalidInput):
        from_completed(replace(event, data=b"[]"))
